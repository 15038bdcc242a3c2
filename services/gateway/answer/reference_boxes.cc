// The reference's parser, with its quirks: contents are Python lists there, read by Python's own
// rules for numbers.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "services/gateway/answer/answer.h"
#include "services/gateway/answer/box_geometry.h"

namespace tessera::answer {
namespace {

// Every `open…close` without a line break between, shortest first, as Python's `open.*?close` finds
// them. Results hold what is between.
std::vector<std::string_view> FindAll(std::string_view text, std::string_view open,
                                      std::string_view close) {
  std::vector<std::string_view> found;
  size_t at = 0;
  while ((at = text.find(open, at)) != std::string_view::npos) {
    const size_t begin = at + open.size();
    const size_t end = text.find(close, begin);
    if (end == std::string_view::npos) {
      break;
    }
    if (text.substr(begin, end - begin).find('\n') != std::string_view::npos) {
      ++at;
      continue;
    }
    found.push_back(text.substr(begin, end - begin));
    at = end + close.size();
  }
  return found;
}

std::string Without(std::string_view text, std::string_view tag) {
  std::string out;
  size_t at;
  while ((at = text.find(tag)) != std::string_view::npos) {
    out.append(text.substr(0, at));
    text.remove_prefix(at + tag.size());
  }
  return out.append(text);
}

std::string_view Trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\f");
  if (begin == std::string_view::npos) {
    return {};
  }
  return text.substr(begin, text.find_last_not_of(" \t\f") - begin + 1);
}

// A Python number: sign, digits, fraction, exponent. An integer with a leading zero is a syntax
// error there unless it is zero.
std::optional<double> ParsePythonNumber(std::string_view text) {
  text = Trim(text);
  double sign = 1;
  while (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    sign = text[0] == '-' ? -sign : sign;
    text = Trim(text.substr(1));
  }
  if (text.empty() || (text[0] != '.' && (text[0] < '0' || text[0] > '9'))) {
    return std::nullopt;
  }
  const bool is_integer = text.find_first_not_of("0123456789") == std::string_view::npos;
  if (is_integer && text.size() > 1 && text[0] == '0' &&
      text.find_first_not_of('0') != std::string_view::npos) {
    return std::nullopt;
  }
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return sign * value;
}

// The inside of one `[…]`: numbers with commas between, one at the end allowed.
std::optional<std::vector<double>> ParsePythonList(std::string_view inside) {
  std::vector<double> numbers;
  while (!Trim(inside).empty()) {
    const size_t comma = std::min(inside.find(','), inside.size());
    const std::optional<double> number = ParsePythonNumber(inside.substr(0, comma));
    if (!number.has_value()) {
      return std::nullopt;
    }
    numbers.push_back(*number);
    inside.remove_prefix(std::min(comma + 1, inside.size()));
  }
  return numbers;
}

std::optional<ReferenceBox> MakeBox(const std::vector<double>& numbers, const std::string& label,
                                    const ImageSize& size) {
  if (numbers.size() < 4) {
    return std::nullopt;
  }
  ReferenceBox box{label, ToPixel(numbers[0], size.width), ToPixel(numbers[1], size.height),
                   ToPixel(numbers[2], size.width), ToPixel(numbers[3], size.height)};
  if (box.x2 < box.x1 || box.y2 < box.y1) {  // drawing it fails there
    return std::nullopt;
  }
  return box;
}

}  // namespace

std::optional<std::vector<ReferenceBox>> ParseReferenceBoxes(std::string_view response,
                                                             const ImageSize& size) {
  const std::vector<std::string_view> labels = FindAll(response, kRefOpen, kRefClose);
  const std::vector<std::string_view> lists = FindAll(response, kDetOpen, kDetClose);
  if (labels.empty() || labels.size() != lists.size()) {
    return std::nullopt;
  }
  std::vector<ReferenceBox> boxes;
  for (size_t i = 0; i < lists.size(); ++i) {
    const std::string label = Without(labels[i], kRefOpen);
    const std::string list = Without(lists[i], kDetOpen);
    const std::string_view inside =
        list.size() < 2 ? std::string_view() : std::string_view(list).substr(1, list.size() - 2);
    for (const std::string_view one : FindAll(inside, "[", "]")) {
      const std::optional<std::vector<double>> numbers = ParsePythonList(one);
      const std::optional<ReferenceBox> box =
          numbers.has_value() ? MakeBox(*numbers, label, size) : std::nullopt;
      if (!box.has_value()) {
        return std::nullopt;
      }
      boxes.push_back(*box);
    }
  }
  return boxes;
}

}  // namespace tessera::answer
