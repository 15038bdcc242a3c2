// Picture files to RGB pixels, exactly as Pillow's open().convert("RGB") gives them (golden README,
// point 14).
#ifndef TESSERA_SERVICES_GATEWAY_PROMPT_IMAGE_H_
#define TESSERA_SERVICES_GATEWAY_PROMPT_IMAGE_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace tessera::prompt {

enum class ImageFormat { kJpeg, kPng, kWebp, kGif, kBmp };

std::string_view ImageFormatName(ImageFormat format);  // "JPEG", …

struct Image {
  int64_t width = 0;         // pixels
  int64_t height = 0;        // pixels
  std::vector<uint8_t> rgb;  // [height, width, 3], no padding
};

struct ImageLimits {
  int64_t max_bytes = 20 << 20;  // of the file
  int64_t max_side_pixels = 16384;
  int64_t max_pixels = 40'000'000;  // width * height
};

struct ImageHeader {
  ImageFormat format = ImageFormat::kJpeg;
  int64_t width = 0;
  int64_t height = 0;
};

// What the magic bytes and the header say; decodes nothing. INVALID_ARGUMENT: empty, unknown format
// (lists the known ones), truncated header, a side of 0, or beyond the limits (says both numbers).
// Error texts are fixed strings and numbers, never a decoder's own text.
absl::StatusOr<ImageHeader> ReadImageHeader(std::string_view bytes, const ImageLimits& limits);

// Checks the header first, so that no decoder sees a picture beyond the limits. INVALID_ARGUMENT:
// as above, or truncated or damaged data.
absl::StatusOr<Image> DecodeImage(std::string_view bytes, const ImageLimits& limits);

}  // namespace tessera::prompt

#endif  // TESSERA_SERVICES_GATEWAY_PROMPT_IMAGE_H_
