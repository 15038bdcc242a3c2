#include "services/cli/progress_line.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "services/cli/flags.h"

namespace tessera::cli {
namespace {

constexpr size_t kUsualColumns = 80;

size_t TerminalColumns() {
  winsize size = {};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col
                                                                         : kUsualColumns;
}

}  // namespace

std::string ProgressText(const std::map<std::string, LoadingProgress>& members, size_t columns) {
  LoadingProgress sum;
  for (const auto& [name, progress] : members) {
    sum.loaded_bytes += progress.loaded_bytes;
    sum.total_bytes += progress.total_bytes;
  }
  if (sum.total_bytes <= 0) {
    return "";
  }
  const double share = static_cast<double>(sum.loaded_bytes) / static_cast<double>(sum.total_bytes);
  std::string text = absl::StrCat("loading weights: ", static_cast<int>(100 * share), " % of ",
                                  ReadableBytes(sum.total_bytes));
  if (members.size() > 1) {
    absl::StrAppend(&text, " on ", members.size(), " ranks");
  }
  return text.substr(0, columns);
}

ProgressLine::ProgressLine() : is_terminal_(isatty(STDERR_FILENO) == 1) {}

ProgressLine::~ProgressLine() { Finish(); }

void ProgressLine::Update(const std::string& member, int64_t loaded_bytes, int64_t total_bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!is_terminal_ || finished_) {
    return;
  }
  members_[member] = {loaded_bytes, total_bytes};
  // A line that wraps could not be erased: one column is left for the cursor.
  const std::string text = ProgressText(members_, TerminalColumns() - 1);
  if (text.empty()) {
    return;
  }
  // The cursor goes back to the first column, so that a log line of a child begins there.
  std::fprintf(stderr, "\r\033[K%s\r", text.c_str());
  std::fflush(stderr);
  shown_ = true;
}

void ProgressLine::Finish() {
  const std::lock_guard<std::mutex> lock(mutex_);
  finished_ = true;
  if (shown_) {
    std::fputs("\r\033[K", stderr);
    std::fflush(stderr);
    shown_ = false;
  }
}

}  // namespace tessera::cli
