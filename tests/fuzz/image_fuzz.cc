// Any bytes as a picture file: the header, then the pixels with small limits. The first few bytes
// decide the format.
#include <cstdint>
#include <string_view>

#include "services/base/check.h"
#include "services/gateway/prompt/image.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using tessera::prompt::DecodeImage;
  using tessera::prompt::ImageLimits;
  using tessera::prompt::ReadImageHeader;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const ImageLimits limits{.max_bytes = 1 << 20, .max_side_pixels = 1024, .max_pixels = 1 << 17};
  const auto header = ReadImageHeader(bytes, limits);
  const auto image = DecodeImage(bytes, limits);
  if (!header.ok()) {
    TESSERA_CHECK(image.status() == header.status()) << image.status();
    return 0;
  }
  if (!image.ok()) {
    TESSERA_CHECK(image.status().code() == absl::StatusCode::kInvalidArgument) << image.status();
    return 0;
  }
  TESSERA_CHECK(image->width == header->width && image->height == header->height);
  TESSERA_CHECK(image->rgb.size() == static_cast<size_t>(image->width * image->height * 3));
  return 0;
}
