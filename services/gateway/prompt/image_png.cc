// PNG by libpng, with the conversions of Pillow: alpha and tRNS dropped, gamma ignored, 16-bit gray
// clipped.
#include <png.h>

#include <csetjmp>
#include <cstring>

#include "services/gateway/prompt/image_codec.h"

namespace tessera::prompt {
namespace {

constexpr ImageFormat kFormat = ImageFormat::kPng;
constexpr size_t kHeaderBytes = 26;  // signature, chunk head, width, height, depth, colour type

struct Source {
  std::string_view rest;
  bool truncated = false;
};

void OnRead(png_structp png, png_bytep out, size_t count) {
  auto* source = static_cast<Source*>(png_get_io_ptr(png));
  if (count > source->rest.size()) {
    source->truncated = true;
    png_error(png, "");
  }
  std::memcpy(out, source->rest.data(), count);
  source->rest.remove_prefix(count);
}

[[noreturn]] void OnError(png_structp png, png_const_charp) { png_longjmp(png, 1); }
void OnWarning(png_structp, png_const_charp) {}

// Owns libpng's state. libpng reports errors by a jump; the two functions that arm it below hold no
// objects with destructors.
struct Reader {
  png_structp png = nullptr;
  png_infop info = nullptr;
  Source source;

  explicit Reader(std::string_view bytes) {
    source.rest = bytes;
    png = png_create_read_struct(PNG_LIBPNG_VER_STRING, nullptr, OnError, OnWarning);
    if (png != nullptr) info = png_create_info_struct(png);
  }
  ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
};

// Reads everything before the pixels and asks for one, two or three bytes per pixel. False: libpng
// gave up.
bool ReadInfo(Reader& reader, const Image& image) {
  png_structp png = reader.png;
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  png_set_read_fn(png, &reader.source, OnRead);
  png_set_user_limits(png, static_cast<png_uint_32>(image.width),
                      static_cast<png_uint_32>(image.height));
  // Text, profiles and unknown chunks are skipped unread: some are compressed, and none matters.
  png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
  png_read_info(png, reader.info);
  const int type = png_get_color_type(png, reader.info);
  const int depth = png_get_bit_depth(png, reader.info);
  if (type == PNG_COLOR_TYPE_PALETTE) {
    if (depth < 8) png_set_packing(png);
  } else if (type != PNG_COLOR_TYPE_GRAY || depth != 16) {
    if (depth == 16) png_set_strip_16(png);
    if (type == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(png);
    if ((type & PNG_COLOR_MASK_ALPHA) != 0) png_set_strip_alpha(png);
    if ((type & PNG_COLOR_MASK_COLOR) == 0) png_set_gray_to_rgb(png);
  }
  png_set_interlace_handling(png);
  png_read_update_info(png, reader.info);
  return true;
}

bool ReadPixels(Reader& reader, png_bytepp rows) {
  if (setjmp(png_jmpbuf(reader.png)) != 0) return false;
  png_read_image(reader.png, rows);
  return true;
}

void MapPalette(Reader& reader, const std::vector<uint8_t>& indices, Image& image) {
  png_colorp colors = nullptr;
  int num_colors = 0;
  png_get_PLTE(reader.png, reader.info, &colors, &num_colors);
  uint8_t table[256][3] = {};  // an index past the palette is black
  for (int i = 0; i < num_colors && i < 256; ++i) {
    table[i][0] = colors[i].red;
    table[i][1] = colors[i].green;
    table[i][2] = colors[i].blue;
  }
  for (size_t i = 0; i < indices.size(); ++i) std::memcpy(&image.rgb[3 * i], table[indices[i]], 3);
}

// Pillow keeps 16-bit gray as such and clips, rather than scales, on the way to RGB.
void ClipGray16(const std::vector<uint8_t>& samples, Image& image) {
  for (size_t i = 0; i < samples.size() / 2; ++i) {
    const uint8_t gray = samples[2 * i] != 0 ? 255 : samples[2 * i + 1];
    std::memset(&image.rgb[3 * i], gray, 3);
  }
}

}  // namespace

absl::StatusOr<ImageSize> ReadPngSize(std::string_view bytes) {
  if (bytes.size() < kHeaderBytes) return TruncatedImage(kFormat);
  if (bytes.substr(12, 4) != "IHDR") return DamagedImage(kFormat);
  return ImageSize{.width = BigEndian32(bytes, 16), .height = BigEndian32(bytes, 20)};
}

absl::Status DecodePng(std::string_view bytes, Image& image) {
  Reader reader(bytes);
  if (reader.info == nullptr) return absl::ResourceExhaustedError("image: out of memory");
  const auto failure = [&reader] {
    return reader.source.truncated ? TruncatedImage(kFormat) : DamagedImage(kFormat);
  };
  if (!ReadInfo(reader, image)) return failure();
  const size_t width = static_cast<size_t>(image.width);
  const size_t row_bytes = png_get_rowbytes(reader.png, reader.info);
  const size_t bytes_per_pixel = row_bytes / width;
  if (row_bytes % width != 0 || bytes_per_pixel > 3 ||
      png_get_image_width(reader.png, reader.info) != image.width ||
      png_get_image_height(reader.png, reader.info) != image.height) {
    return DamagedImage(kFormat);
  }
  std::vector<uint8_t> samples;
  if (bytes_per_pixel != 3) samples.resize(row_bytes * static_cast<size_t>(image.height));
  uint8_t* base = bytes_per_pixel == 3 ? image.rgb.data() : samples.data();
  std::vector<png_bytep> rows(static_cast<size_t>(image.height));
  for (size_t y = 0; y < rows.size(); ++y) rows[y] = base + y * row_bytes;
  if (!ReadPixels(reader, rows.data())) return failure();
  if (bytes_per_pixel == 1) MapPalette(reader, samples, image);
  if (bytes_per_pixel == 2) ClipGray16(samples, image);
  return absl::OkStatus();
}

}  // namespace tessera::prompt
