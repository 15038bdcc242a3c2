// Structured logging to stderr: one line per event, either text (for terminals) or JSON (for
// collectors).
//
//   TESSERA_LOG(kInfo) << "registered worker " << id;
//   TESSERA_LOG(kWarning).With("request_id", id) << "stream broke";
//
// Thread safe. A line below the level costs one atomic load. Prompts, answers and keys are never
// logged.
#ifndef TESSERA_SERVICES_BASE_LOG_H_
#define TESSERA_SERVICES_BASE_LOG_H_

#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace tessera::log {

enum class Level { kDebug = 0, kInfo = 1, kWarning = 2, kError = 3 };
enum class Format { kText, kJson };

void SetLevel(Level level);  // takes effect at once, in all threads
void SetFormat(Format format);
void SetComponent(std::string name);  // "gateway", "router", "worker 0": printed on each line; call
                                      // before threads start
bool Enabled(Level level);

// "debug", "info", "warning" or "error"; anything else is INVALID_ARGUMENT that names the allowed
// ones.
absl::StatusOr<Level> ParseLevel(std::string_view text);

class Message {
 public:
  Message(Level level, const char* file, int line);
  ~Message();  // writes the line

  template <typename Value>
  Message& With(std::string_view key, const Value& value) {
    std::ostringstream text;
    text << value;
    fields_.emplace_back(std::string(key), text.str());
    return *this;
  }
  template <typename Value>
  Message& operator<<(const Value& value) {
    text_ << value;
    return *this;
  }

 private:
  Level level_;
  const char* file_;
  int line_;
  std::ostringstream text_;
  std::vector<std::pair<std::string, std::string>> fields_;
};

}  // namespace tessera::log

#define TESSERA_LOG(level)                                                        \
  switch (0)                                                                      \
  case 0:                                                                         \
  default:                                                                        \
    if (!::tessera::log::Enabled(::tessera::log::Level::level)) {                 \
    } else /* NOLINT(readability-misleading-indentation): allows `<<` after it */ \
      ::tessera::log::Message(::tessera::log::Level::level, __FILE__, __LINE__)

#endif  // TESSERA_SERVICES_BASE_LOG_H_
