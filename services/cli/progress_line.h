// One line on a terminal that tells how far the weights are loaded.
#ifndef TESSERA_SERVICES_CLI_PROGRESS_LINE_H_
#define TESSERA_SERVICES_CLI_PROGRESS_LINE_H_

#include <cstdint>
#include <map>
#include <mutex>
#include <string>

namespace tessera::cli {

struct LoadingProgress {
  int64_t loaded_bytes = 0;
  int64_t total_bytes = 0;
};

// "loading weights: 43 % of 6.5 GiB on 4 ranks", of the sum over all members by name, cut to
// `columns`; empty while no member has anything to load. Without "on …" for one member.
std::string ProgressText(const std::map<std::string, LoadingProgress>& members, size_t columns);

// Thread safe. Writes to stderr, and only if that is a terminal.
class ProgressLine {
 public:
  ProgressLine();
  ~ProgressLine();  // finishes

  // member: who loads.
  void Update(const std::string& member, int64_t loaded_bytes, int64_t total_bytes);
  // Erases the line for good: what is started again later loads without one, since nobody would
  // erase it.
  void Finish();

 private:
  const bool is_terminal_;
  std::mutex mutex_;
  std::map<std::string, LoadingProgress> members_;
  bool shown_ = false;
  bool finished_ = false;
};

}  // namespace tessera::cli

#endif  // TESSERA_SERVICES_CLI_PROGRESS_LINE_H_
