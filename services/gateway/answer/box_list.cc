#include "services/gateway/answer/box_list.h"

#include <array>
#include <charconv>
#include <cmath>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/gateway/answer/box_geometry.h"

namespace tessera::answer {
namespace {

constexpr int kDepthOfABox = 2;  // [[…]]
constexpr size_t kMaxDigits = 9;
constexpr int kLargest = 999;

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

std::string_view Trim(std::string_view text) {
  const absl::string_view trimmed = absl::StripAsciiWhitespace(View(text));
  return {trimmed.data(), trimmed.size()};
}

// Digits with an optional sign and fraction; anything else gives a reason.
std::optional<double> ParseNumber(std::string_view text, std::string& reason) {
  const std::string_view digits = text.substr(text.empty() || text[0] != '-' ? 0 : 1);
  const size_t point = digits.find('.');
  const bool well_formed =
      !digits.empty() && digits.find_first_not_of("0123456789.") == std::string_view::npos &&
      (point == std::string_view::npos || (point > 0 && point + 1 < digits.size() &&
                                           digits.find('.', point + 1) == std::string_view::npos));
  if (!well_formed) {
    reason = text.empty() ? "a number is missing" : "not a number";
    return std::nullopt;
  }
  if (digits.size() > kMaxDigits) {
    reason = absl::StrCat("a number of ", digits.size(), " digits");
    return std::nullopt;
  }
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::string RangeReason(const std::array<double, 4>& corners) {
  for (const double value : corners) {
    if (value < 0) {
      return absl::StrCat(value, " is below 0");
    }
    if (value > kLargest) {
      return absl::StrCat(value, " is above ", kLargest);
    }
  }
  if (corners[2] < corners[0]) {
    return "x2 < x1";
  }
  return corners[3] < corners[1] ? "y2 < y1" : "";
}

void SetCorners(Box& box, const std::array<double, 4>& corners, const ImageSize& size) {
  box.parsed = true;
  box.x1 = static_cast<int32_t>(corners[0]);
  box.y1 = static_cast<int32_t>(corners[1]);
  box.x2 = static_cast<int32_t>(corners[2]);
  box.y2 = static_cast<int32_t>(corners[3]);
  box.pixel_x1 = static_cast<int32_t>(ToPixel(corners[0], size.width));
  box.pixel_y1 = static_cast<int32_t>(ToPixel(corners[1], size.height));
  box.pixel_x2 = static_cast<int32_t>(ToPixel(corners[2], size.width));
  box.pixel_y2 = static_cast<int32_t>(ToPixel(corners[3], size.height));
}

// inside: what stands between one innermost pair of brackets, `depth` brackets deep.
Box ParseOne(std::string_view inside, int depth, const ImageSize& size) {
  Box box;
  box.raw = absl::StrCat("[", View(inside), "]");
  const std::vector<absl::string_view> parts = absl::StrSplit(View(inside), ',');
  if (parts.size() != 4) {
    const size_t count =
        parts.size() - (Trim({parts.back().data(), parts.back().size()}).empty() ? 1 : 0);
    box.invalid_reason = absl::StrCat(count, count == 1 ? " number" : " numbers", " instead of 4");
    return box;
  }
  std::array<double, 4> corners{};
  for (size_t i = 0; i < 4; ++i) {
    const std::optional<double> number =
        ParseNumber(Trim({parts[i].data(), parts[i].size()}), box.invalid_reason);
    if (!number.has_value()) {
      return box;
    }
    corners[i] = *number;
  }
  SetCorners(box, corners, size);
  box.invalid_reason = RangeReason(corners);
  if (box.invalid_reason.empty() && depth != kDepthOfABox) {
    box.invalid_reason = depth < kDepthOfABox ? "not inside a list of boxes" : "nested lists";
  }
  box.valid = box.invalid_reason.empty();
  return box;
}

Box InvalidBox(std::string_view raw, std::string reason) {
  Box box;
  box.raw = std::string(raw);
  box.invalid_reason = std::move(reason);
  return box;
}

}  // namespace

std::vector<Box> ParseBoxList(std::string_view content, const ImageSize& size) {
  std::vector<Box> boxes;
  int depth = 0;
  size_t innermost = std::string_view::npos;  // just behind the last `[` that has not met its `]`
  int brackets = 0;
  for (size_t i = 0; i < content.size(); ++i) {
    if (content[i] == '[') {
      ++depth;
      ++brackets;
      innermost = i + 1;
    } else if (content[i] == ']') {
      const bool empty_list = innermost != std::string_view::npos &&
                              Trim(content.substr(innermost, i - innermost)).empty();
      if (innermost != std::string_view::npos && !empty_list) {
        boxes.push_back(ParseOne(content.substr(innermost, i - innermost), depth, size));
      }
      innermost = std::string_view::npos;
      depth = depth > 0 ? depth - 1 : 0;
    }
  }
  if (innermost != std::string_view::npos && !Trim(content.substr(innermost)).empty()) {
    boxes.push_back(InvalidBox(content.substr(innermost - 1), "a bracket is not closed"));
  } else if (brackets == 0) {
    boxes.push_back(InvalidBox(content, "no list of numbers"));
  }
  return boxes;
}

}  // namespace tessera::answer
