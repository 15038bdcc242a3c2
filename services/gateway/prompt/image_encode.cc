#include "services/gateway/prompt/image_encode.h"

#include <png.h>

#include <csetjmp>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace tessera::prompt {
namespace {

constexpr int64_t kMaxSidePixels = 1 << 20;

void OnWrite(png_structp png, png_bytep data, size_t count) {
  static_cast<std::string*>(png_get_io_ptr(png))->append(reinterpret_cast<char*>(data), count);
}
void OnFlush(png_structp) {}
[[noreturn]] void OnError(png_structp png, png_const_charp) { png_longjmp(png, 1); }
void OnWarning(png_structp, png_const_charp) {}

// libpng reports errors by a jump; no object with a destructor lives here.
bool Write(png_structp png, png_infop info, const Image& image, std::string* out) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  png_set_write_fn(png, out, OnWrite, OnFlush);
  png_set_IHDR(png, info, static_cast<png_uint_32>(image.width),
               static_cast<png_uint_32>(image.height), 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(png, info);
  for (int64_t y = 0; y < image.height; ++y) {
    png_write_row(png, image.rgb.data() + y * image.width * 3);
  }
  png_write_end(png, info);
  return true;
}

}  // namespace

absl::StatusOr<std::string> EncodePng(const Image& image) {
  const bool sides_fit = image.width > 0 && image.height > 0 && image.width <= kMaxSidePixels &&
                         image.height <= kMaxSidePixels;
  if (!sides_fit || image.rgb.size() != static_cast<size_t>(image.width) * image.height * 3) {
    return absl::InvalidArgumentError(absl::StrCat("image: ", image.width, " x ", image.height,
                                                   " pixels with ", image.rgb.size(),
                                                   " bytes cannot be written"));
  }
  std::string out;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, OnError, OnWarning);
  png_infop info = png == nullptr ? nullptr : png_create_info_struct(png);
  const bool written = info != nullptr && Write(png, info, image, &out);
  png_destroy_write_struct(&png, &info);
  if (!written) return absl::InternalError("image: writing the PNG failed");
  return out;
}

}  // namespace tessera::prompt
