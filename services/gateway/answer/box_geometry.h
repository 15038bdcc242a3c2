// What both box parsers share: the tags and the way from 0 … 999 to pixels.
#ifndef TESSERA_SERVICES_GATEWAY_ANSWER_BOX_GEOMETRY_H_
#define TESSERA_SERVICES_GATEWAY_ANSWER_BOX_GEOMETRY_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string_view>

namespace tessera::answer {

inline constexpr std::string_view kRefOpen = "<|ref|>";
inline constexpr std::string_view kRefClose = "<|/ref|>";
inline constexpr std::string_view kDetOpen = "<|det|>";
inline constexpr std::string_view kDetClose = "<|/det|>";

// int(value / 999 * size), as the reference computes it in doubles: truncated towards zero.
// Saturates far outside any picture.
inline int64_t ToPixel(double value, int64_t size) {
  constexpr double kFar = 1e9;
  return static_cast<int64_t>(
      std::clamp(std::trunc(value / 999 * static_cast<double>(size)), -kFar, kFar));
}

}  // namespace tessera::answer

#endif  // TESSERA_SERVICES_GATEWAY_ANSWER_BOX_GEOMETRY_H_
