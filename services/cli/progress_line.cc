#include "services/cli/progress_line.h"

#include <unistd.h>

#include <cstdio>

#include "services/cli/flags.h"

namespace tessera::cli {

ProgressLine::ProgressLine() : is_terminal_(isatty(STDERR_FILENO) == 1) {}

ProgressLine::~ProgressLine() { Erase(); }

void ProgressLine::Update(const std::string& member, int64_t loaded_bytes, int64_t total_bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!is_terminal_) {
    return;
  }
  members_[member] = {loaded_bytes, total_bytes};
  Progress sum;
  for (const auto& [name, progress] : members_) {
    sum.loaded_bytes += progress.loaded_bytes;
    sum.total_bytes += progress.total_bytes;
  }
  if (sum.total_bytes <= 0) {
    return;
  }
  const int percent = static_cast<int>(100.0 * static_cast<double>(sum.loaded_bytes) /
                                       static_cast<double>(sum.total_bytes));
  std::fprintf(stderr, "\r\033[Kloading weights: %d %% of %s", percent,
               ReadableBytes(sum.total_bytes).c_str());
  std::fflush(stderr);
  shown_ = true;
}

void ProgressLine::Erase() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (shown_) {
    std::fputs("\r\033[K", stderr);
    std::fflush(stderr);
    shown_ = false;
  }
}

}  // namespace tessera::cli
