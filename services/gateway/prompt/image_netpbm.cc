#include "services/gateway/prompt/image_netpbm.h"

#include <cctype>
#include <cstring>

#include "absl/status/status.h"
#include "services/base/status_macros.h"

namespace tessera::prompt {
namespace {

// Takes white space, comments and a whole number off `rest`.
absl::StatusOr<int64_t> TakeNumber(std::string_view& rest) {
  while (!rest.empty() && (std::isspace(static_cast<unsigned char>(rest[0])) || rest[0] == '#')) {
    const size_t skip = rest[0] == '#' ? rest.find('\n') : 0;
    if (skip == std::string_view::npos) break;
    rest.remove_prefix(skip + 1);
  }
  int64_t value = 0;
  size_t digits = 0;
  while (digits < rest.size() && digits < 9 && rest[digits] >= '0' && rest[digits] <= '9') {
    value = value * 10 + (rest[digits++] - '0');
  }
  if (digits == 0) return absl::InvalidArgumentError("image: the netpbm header is damaged");
  rest.remove_prefix(digits);
  return value;
}

}  // namespace

absl::StatusOr<Image> DecodeNetpbm(std::string_view bytes, const ImageLimits& limits) {
  const bool gray = bytes.starts_with("P5");
  if (!gray && !bytes.starts_with("P6")) {
    return absl::InvalidArgumentError("image: not a binary PGM or PPM file");
  }
  std::string_view rest = bytes.substr(2);
  Image image;
  TESSERA_ASSIGN_OR_RETURN(image.width, TakeNumber(rest));
  TESSERA_ASSIGN_OR_RETURN(image.height, TakeNumber(rest));
  TESSERA_ASSIGN_OR_RETURN(const int64_t highest, TakeNumber(rest));
  if (highest != 255 || image.width == 0 || image.height == 0 || rest.empty() ||
      image.width > limits.max_side_pixels || image.height > limits.max_side_pixels ||
      image.width * image.height > limits.max_pixels) {
    return absl::InvalidArgumentError("image: netpbm size or sample range is not supported");
  }
  rest.remove_prefix(1);
  const size_t pixels = static_cast<size_t>(image.width) * image.height;
  if (rest.size() < pixels * (gray ? 1 : 3)) {
    return absl::InvalidArgumentError("image: the netpbm file is truncated");
  }
  image.rgb.resize(pixels * 3);
  if (gray) {
    for (size_t i = 0; i < pixels; ++i) std::memset(&image.rgb[3 * i], rest[i], 3);
  } else {
    std::memcpy(image.rgb.data(), rest.data(), image.rgb.size());
  }
  return image;
}

}  // namespace tessera::prompt
