// A compiled regular expression (PCRE2, UTF and UCP, with its JIT where the machine allows).
#ifndef TESSERA_SERVICES_GATEWAY_PROMPT_REGEX_H_
#define TESSERA_SERVICES_GATEWAY_PROMPT_REGEX_H_

#include <cstddef>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tessera::prompt {

// Immutable after Compile; thread safe (scratch memory is per thread).
class Regex {
 public:
  struct Match {
    bool found = false;
    size_t begin = 0;  // byte offset
    size_t end = 0;    // exclusive
  };

  // INVALID_ARGUMENT: the pattern does not compile; says the byte offset.
  static absl::StatusOr<Regex> Compile(std::string_view pattern);
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  // The leftmost match that starts at `from` or later. subject is valid UTF-8 and `from` a
  // character border; what stands before `from` is visible to lookbehind. INVALID_ARGUMENT: the
  // matcher's limits were reached.
  absl::StatusOr<Match> Find(std::string_view subject, size_t from) const;

 private:
  struct Code;
  explicit Regex(std::unique_ptr<Code> code);
  std::unique_ptr<Code> code_;
};

}  // namespace tessera::prompt

#endif  // TESSERA_SERVICES_GATEWAY_PROMPT_REGEX_H_
