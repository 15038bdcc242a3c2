#include "services/gateway/prompt/image.h"

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/gateway/prompt/image_codec.h"

namespace tessera::prompt {
namespace {

std::optional<ImageFormat> FormatByMagic(std::string_view bytes) {
  if (bytes.starts_with("\xFF\xD8\xFF")) return ImageFormat::kJpeg;
  if (bytes.starts_with("\x89PNG\r\n\x1A\n")) return ImageFormat::kPng;
  if (bytes.starts_with("GIF87a") || bytes.starts_with("GIF89a")) {
    return ImageFormat::kGif;
  }
  if (bytes.starts_with("RIFF") && bytes.size() >= 12 && bytes.substr(8, 4) == "WEBP") {
    return ImageFormat::kWebp;
  }
  if (bytes.starts_with("BM")) return ImageFormat::kBmp;
  return std::nullopt;
}

absl::StatusOr<ImageSize> ReadSize(ImageFormat format, std::string_view bytes) {
  switch (format) {
    case ImageFormat::kJpeg:
      return ReadJpegSize(bytes);
    case ImageFormat::kPng:
      return ReadPngSize(bytes);
    case ImageFormat::kWebp:
      return ReadWebpSize(bytes);
    case ImageFormat::kGif:
      return ReadGifSize(bytes);
    case ImageFormat::kBmp:
      return ReadBmpSize(bytes);
  }
  return DamagedImage(format);
}

absl::Status Decode(ImageFormat format, std::string_view bytes, Image& image) {
  switch (format) {
    case ImageFormat::kJpeg:
      return DecodeJpeg(bytes, image);
    case ImageFormat::kPng:
      return DecodePng(bytes, image);
    case ImageFormat::kWebp:
      return DecodeWebp(bytes, image);
    case ImageFormat::kGif:
      return DecodeGif(bytes, image);
    case ImageFormat::kBmp:
      return DecodeBmp(bytes, image);
  }
  return DamagedImage(format);
}

absl::Status CheckSize(const ImageSize& size, const ImageLimits& limits) {
  if (size.width <= 0 || size.height <= 0) {
    return absl::InvalidArgumentError(absl::StrCat("image: ", size.width, " x ", size.height,
                                                   " pixels, each side must be at least 1"));
  }
  if (size.width > limits.max_side_pixels || size.height > limits.max_side_pixels) {
    return absl::InvalidArgumentError(absl::StrCat("image: ", size.width, " x ", size.height,
                                                   " pixels, a side may have at most ",
                                                   limits.max_side_pixels, " pixels"));
  }
  // Both sides fit 32 bits in every format, so the product cannot overflow.
  if (size.width * size.height > limits.max_pixels) {
    return absl::InvalidArgumentError(absl::StrCat("image: ", size.width, " x ", size.height, " = ",
                                                   size.width * size.height, " pixels, at most ",
                                                   limits.max_pixels, " are accepted"));
  }
  return absl::OkStatus();
}

// Abseil's own string view does not take std::string_view.
std::string Name(ImageFormat format) { return std::string(ImageFormatName(format)); }

}  // namespace

std::string_view ImageFormatName(ImageFormat format) {
  switch (format) {
    case ImageFormat::kJpeg:
      return "JPEG";
    case ImageFormat::kPng:
      return "PNG";
    case ImageFormat::kWebp:
      return "WebP";
    case ImageFormat::kGif:
      return "GIF";
    case ImageFormat::kBmp:
      return "BMP";
  }
  return "unknown";
}

absl::Status TruncatedImage(ImageFormat format) {
  return absl::InvalidArgumentError(
      absl::StrCat("image: the ", Name(format), " file is truncated"));
}

absl::Status DamagedImage(ImageFormat format) {
  return absl::InvalidArgumentError(absl::StrCat("image: the ", Name(format), " file is damaged"));
}

absl::Status UnsupportedImage(ImageFormat format, std::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("image: ", Name(format), " files with ",
                                                 std::string(what), " are not supported"));
}

absl::StatusOr<ImageHeader> ReadImageHeader(std::string_view bytes, const ImageLimits& limits) {
  if (bytes.empty()) return absl::InvalidArgumentError("image: 0 bytes");
  if (static_cast<int64_t>(bytes.size()) > limits.max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("image: ", bytes.size(), " bytes, at most ",
                                                   limits.max_bytes, " are accepted"));
  }
  const std::optional<ImageFormat> format = FormatByMagic(bytes);
  if (!format.has_value()) {
    return absl::InvalidArgumentError(
        "image: unknown format; known are JPEG, PNG, WebP, GIF and BMP");
  }
  TESSERA_ASSIGN_OR_RETURN(const ImageSize size, ReadSize(*format, bytes));
  TESSERA_RETURN_IF_ERROR(CheckSize(size, limits));
  return ImageHeader{.format = *format, .width = size.width, .height = size.height};
}

absl::StatusOr<Image> DecodeImage(std::string_view bytes, const ImageLimits& limits) {
  TESSERA_ASSIGN_OR_RETURN(const ImageHeader header, ReadImageHeader(bytes, limits));
  Image image;
  image.width = header.width;
  image.height = header.height;
  image.rgb.resize(static_cast<size_t>(header.width) * header.height * 3);
  TESSERA_RETURN_IF_ERROR(Decode(header.format, bytes, image));
  return image;
}

}  // namespace tessera::prompt
