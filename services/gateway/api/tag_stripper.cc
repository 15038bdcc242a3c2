#include "services/gateway/api/tag_stripper.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"

namespace tessera::gateway {
namespace {

constexpr absl::string_view kRefOpen = "<|ref|>";
constexpr absl::string_view kRefClose = "<|/ref|>";
constexpr absl::string_view kDetOpen = "<|det|>";
constexpr absl::string_view kDetClose = "<|/det|>";

// The tag that text begins with, or an empty one. *partial: text is the proper beginning of one.
absl::string_view TagAt(absl::string_view text, bool* partial) {
  for (const absl::string_view tag : {kRefOpen, kRefClose, kDetOpen, kDetClose}) {
    if (absl::StartsWith(text, tag)) return tag;
    if (absl::StartsWith(tag, text)) *partial = true;
  }
  return "";
}

}  // namespace

std::string TagStripper::Feed(absl::string_view text) {
  std::string all = std::exchange(held_, "");
  all.append(text.data(), text.size());
  absl::string_view rest = all;
  std::string out;
  while (!rest.empty()) {
    const size_t bracket = std::min(rest.find('<'), rest.size());
    if (inside_det_) {
      det_bytes_ += bracket;
    } else {
      out.append(rest.data(), bracket);
    }
    rest.remove_prefix(bracket);
    if (rest.empty()) break;
    bool partial = false;
    const absl::string_view tag = TagAt(rest, &partial);
    if (!tag.empty()) {
      inside_det_ = tag == kDetOpen || (inside_det_ && tag != kDetClose);
      if (tag == kDetOpen) det_bytes_ = 0;
      rest.remove_prefix(tag.size());
    } else if (partial) {
      held_ = std::string(rest);
      break;
    } else {
      if (inside_det_) {
        ++det_bytes_;
      } else {
        out.push_back('<');
      }
      rest.remove_prefix(1);
    }
    if (det_bytes_ > kMaxDetBytes) inside_det_ = false;
  }
  if (det_bytes_ > kMaxDetBytes) inside_det_ = false;
  return out;
}

std::string TagStripper::Finish() { return inside_det_ ? std::string() : std::exchange(held_, ""); }

}  // namespace tessera::gateway
