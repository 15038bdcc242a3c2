// What image.cc asks of each picture format. Internal to services/gateway/prompt.
//
// Read<Format>Size reads a header with own code and runs no decoder. Decode<Format> fills `image`,
// whose width and height are those that Read<Format>Size gave for the same bytes and whose rgb
// already has width * height * 3 bytes of value 0. All of them: INVALID_ARGUMENT for truncated,
// damaged or unsupported data; thread safe.
#ifndef TESSERA_SERVICES_GATEWAY_PROMPT_IMAGE_CODEC_H_
#define TESSERA_SERVICES_GATEWAY_PROMPT_IMAGE_CODEC_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/gateway/prompt/image.h"

namespace tessera::prompt {

struct ImageSize {
  int64_t width = 0;   // pixels
  int64_t height = 0;  // pixels
};

// Fixed texts, so that nothing that a decoder says (memory addresses, paths) reaches a client.
absl::Status TruncatedImage(ImageFormat format);
absl::Status DamagedImage(ImageFormat format);
absl::Status UnsupportedImage(ImageFormat format, std::string_view what);

absl::StatusOr<ImageSize> ReadJpegSize(std::string_view bytes);
absl::StatusOr<ImageSize> ReadPngSize(std::string_view bytes);
absl::StatusOr<ImageSize> ReadWebpSize(std::string_view bytes);
absl::StatusOr<ImageSize> ReadGifSize(std::string_view bytes);
absl::StatusOr<ImageSize> ReadBmpSize(std::string_view bytes);

absl::Status DecodeJpeg(std::string_view bytes, Image& image);
absl::Status DecodePng(std::string_view bytes, Image& image);
absl::Status DecodeWebp(std::string_view bytes, Image& image);
absl::Status DecodeGif(std::string_view bytes, Image& image);
absl::Status DecodeBmp(std::string_view bytes, Image& image);

// Whole numbers at byte `at`; the caller has checked that they lie inside `bytes`.
inline uint32_t ByteAt(std::string_view bytes, size_t at) {
  return static_cast<uint8_t>(bytes[at]);
}
inline uint32_t LittleEndian16(std::string_view bytes, size_t at) {
  return ByteAt(bytes, at) | ByteAt(bytes, at + 1) << 8;
}
inline uint32_t LittleEndian24(std::string_view bytes, size_t at) {
  return LittleEndian16(bytes, at) | ByteAt(bytes, at + 2) << 16;
}
inline uint32_t LittleEndian32(std::string_view bytes, size_t at) {
  return LittleEndian16(bytes, at) | LittleEndian16(bytes, at + 2) << 16;
}
inline uint32_t BigEndian16(std::string_view bytes, size_t at) {
  return ByteAt(bytes, at) << 8 | ByteAt(bytes, at + 1);
}
inline uint32_t BigEndian32(std::string_view bytes, size_t at) {
  return BigEndian16(bytes, at) << 16 | BigEndian16(bytes, at + 2);
}

}  // namespace tessera::prompt

#endif  // TESSERA_SERVICES_GATEWAY_PROMPT_IMAGE_CODEC_H_
