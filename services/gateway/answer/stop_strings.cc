#include "services/gateway/answer/stop_strings.h"

#include <algorithm>
#include <utility>

namespace tessera::answer {

StopStrings::StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::stable_sort(stops_.begin(), stops_.end(),
                   [](const std::string& a, const std::string& b) { return a.size() < b.size(); });
}

std::string StopStrings::Append(std::string_view text) {
  if (stopped_) {
    return "";
  }
  held_.append(text);
  size_t first = std::string::npos;
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at < first) {
      first = at;
      found_ = stop;
    }
  }
  if (first != std::string::npos) {
    stopped_ = true;
    std::string before = held_.substr(0, first);
    held_.clear();
    return before;
  }
  const size_t kept = HeldBytes();
  std::string out = held_.substr(0, held_.size() - kept);
  held_.erase(0, out.size());
  return out;
}

std::string StopStrings::Flush() { return std::exchange(held_, {}); }

// The longest end of the held text that begins a stop string.
size_t StopStrings::HeldBytes() const {
  size_t longest = 0;
  for (const std::string& stop : stops_) {
    for (size_t bytes = std::min(stop.size() - 1, held_.size()); bytes > longest; --bytes) {
      if (std::string_view(held_).substr(held_.size() - bytes) ==
          std::string_view(stop).substr(0, bytes)) {
        longest = bytes;
      }
    }
  }
  return longest;
}

}  // namespace tessera::answer
