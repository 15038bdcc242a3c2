// One line on a terminal that tells how far the weights are loaded.
#ifndef TESSERA_SERVICES_CLI_PROGRESS_LINE_H_
#define TESSERA_SERVICES_CLI_PROGRESS_LINE_H_

#include <cstdint>
#include <map>
#include <mutex>
#include <string>

namespace tessera::cli {

// Thread safe. Writes to stderr, and only if that is a terminal.
class ProgressLine {
 public:
  ProgressLine();
  ~ProgressLine();  // erases the line

  // member: who loads; the line shows the sum over all members.
  void Update(const std::string& member, int64_t loaded_bytes, int64_t total_bytes);
  void Erase();

 private:
  struct Progress {
    int64_t loaded_bytes = 0;
    int64_t total_bytes = 0;
  };

  const bool is_terminal_;
  std::mutex mutex_;
  std::map<std::string, Progress> members_;
  bool shown_ = false;
};

}  // namespace tessera::cli

#endif  // TESSERA_SERVICES_CLI_PROGRESS_LINE_H_
