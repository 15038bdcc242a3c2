// Windows and OS/2 bitmaps by own code, which follows Pillow also where Pillow is peculiar (RLE).
#include <algorithm>
#include <array>
#include <cstring>

#include "services/base/status_macros.h"
#include "services/gateway/prompt/image_codec.h"

namespace tessera::prompt {
namespace {

constexpr ImageFormat kFormat = ImageFormat::kBmp;
constexpr size_t kFileHeaderBytes = 14;

enum Compression : uint32_t { kRaw = 0, kRle8 = 1, kRle4 = 2, kBitfields = 3 };

struct Header {
  ImageSize size;
  bool top_down = false;
  uint32_t bits = 0;  // per pixel
  uint32_t compression = kRaw;
  size_t palette_at = 0;      // byte offset
  size_t palette_entry = 4;   // bytes
  size_t palette_colors = 0;  // 0 where bits > 8
  size_t pixels_at = 0;       // byte offset
  uint32_t masks[3] = {};     // red, green, blue; kBitfields only
};

using Palette = std::array<std::array<uint8_t, 3>, 256>;

absl::StatusOr<Header> ReadHeader(std::string_view bytes) {
  if (bytes.size() < kFileHeaderBytes + 4) return TruncatedImage(kFormat);
  const size_t header_bytes = LittleEndian32(bytes, kFileHeaderBytes);
  constexpr size_t kKnown[] = {12, 40, 52, 56, 64, 108, 124};
  if (std::find(std::begin(kKnown), std::end(kKnown), header_bytes) == std::end(kKnown)) {
    return UnsupportedImage(kFormat, "this kind of header");
  }
  size_t end = kFileHeaderBytes + header_bytes;
  if (bytes.size() < end) return TruncatedImage(kFormat);
  Header header;
  size_t colors = 0;
  if (header_bytes == 12) {
    header.size = {.width = LittleEndian16(bytes, 18), .height = LittleEndian16(bytes, 20)};
    header.bits = LittleEndian16(bytes, 24);
    header.palette_entry = 3;
  } else {
    const uint32_t height = LittleEndian32(bytes, 22);
    header.top_down = height >> 24 == 0xFF;  // Pillow's test for a negative height
    header.size = {.width = LittleEndian32(bytes, 18),
                   .height = header.top_down ? -height : height};
    header.bits = LittleEndian16(bytes, 28);
    header.compression = LittleEndian32(bytes, 30);
    colors = LittleEndian32(bytes, 46);
    if (header.compression == kBitfields) {
      if (header_bytes == 40) end += 12;  // the masks follow the header
      if (bytes.size() < kFileHeaderBytes + 52) return TruncatedImage(kFormat);
      for (size_t i = 0; i < 3; ++i) header.masks[i] = LittleEndian32(bytes, 54 + 4 * i);
    }
  }
  header.pixels_at = LittleEndian32(bytes, 10);
  header.palette_at = end;
  if (header.bits <= 8) {
    header.palette_colors = colors != 0 ? colors : size_t{1} << header.bits;
    if (header.palette_colors > 65536) return DamagedImage(kFormat);
    end += header.palette_entry * header.palette_colors;
    // Some writers forget to count the palette.
    if (header.pixels_at == kFileHeaderBytes + header_bytes) {
      header.pixels_at += 4 * header.palette_colors;
    }
  }
  if (header.pixels_at == 0) header.pixels_at = end;
  return header;
}

// Two colours, black and white, or a ramp of all grays: Pillow then ignores the palette, which
// shows only where an index lies past it.
bool IsGray(std::string_view entries, const Header& header) {
  for (size_t i = 0; i < header.palette_colors; ++i) {
    const size_t gray = header.palette_colors == 2 ? i * 255 : i;
    for (size_t c = 0; c < 3; ++c) {
      if (ByteAt(entries, i * header.palette_entry + c) != gray) return false;
    }
  }
  return true;
}

absl::StatusOr<Palette> ReadPalette(std::string_view bytes, const Header& header) {
  const size_t length = header.palette_entry * header.palette_colors;
  if (header.palette_at + length > bytes.size()) return TruncatedImage(kFormat);
  const std::string_view entries = bytes.substr(header.palette_at, length);
  Palette palette{};
  if (header.palette_colors > 2 && IsGray(entries, header)) {
    for (size_t i = 0; i < palette.size(); ++i) palette[i].fill(static_cast<uint8_t>(i));
  }
  for (size_t i = 0; i < std::min(header.palette_colors, palette.size()); ++i) {
    for (size_t c = 0; c < 3; ++c) {  // stored blue, green, red
      palette[i][c] = ByteAt(entries, i * header.palette_entry + 2 - c);
    }
  }
  return palette;
}

uint8_t* Row(Image& image, bool top_down, int64_t index) {
  const int64_t y = top_down ? index : image.height - 1 - index;
  return image.rgb.data() + y * image.width * 3;
}

void PaletteRow(std::string_view row, uint32_t bits, const Palette& palette, int64_t width,
                uint8_t* out) {
  const uint32_t mask = (1u << bits) - 1;
  for (int64_t x = 0; x < width; ++x, out += 3) {
    const size_t bit = static_cast<size_t>(x) * bits;
    const uint32_t index = ByteAt(row, bit / 8) >> (8 - bits - bit % 8) & mask;
    std::memcpy(out, palette[index].data(), 3);
  }
}

// red_bits and so on: 5, 5, 5 or 5, 6, 5.
void Row16(std::string_view row, uint32_t green_bits, int64_t width, uint8_t* out) {
  const uint32_t green_max = (1u << green_bits) - 1;
  for (int64_t x = 0; x < width; ++x, out += 3) {
    const uint32_t pixel = LittleEndian16(row, static_cast<size_t>(x) * 2);
    out[0] = static_cast<uint8_t>((pixel >> (5 + green_bits) & 31) * 255 / 31);
    out[1] = static_cast<uint8_t>((pixel >> 5 & green_max) * 255 / green_max);
    out[2] = static_cast<uint8_t>((pixel & 31) * 255 / 31);
  }
}

// at[c]: the byte of a pixel that holds colour c.
void ByteRow(std::string_view row, size_t pixel_bytes, const std::array<uint8_t, 3>& at,
             int64_t width, uint8_t* out) {
  for (size_t x = 0; x < static_cast<size_t>(width); ++x, out += 3) {
    for (size_t c = 0; c < 3; ++c) out[c] = ByteAt(row, x * pixel_bytes + at[c]);
  }
}

struct PixelLayout {
  uint32_t green_bits = 5;                // 16 bits per pixel
  std::array<uint8_t, 3> at = {2, 1, 0};  // 24 and 32 bits per pixel
};

// The same combinations of masks as Pillow knows, whatever the alpha mask says.
absl::StatusOr<PixelLayout> ReadLayout(const Header& header) {
  PixelLayout layout;
  if (header.compression != kBitfields) return layout;
  const auto is = [&header](uint32_t red, uint32_t green, uint32_t blue) {
    return header.masks[0] == red && header.masks[1] == green && header.masks[2] == blue;
  };
  const bool usual = is(0xFF0000, 0xFF00, 0xFF);
  if (header.bits == 16 && is(0x7C00, 0x3E0, 0x1F)) return layout;
  if (header.bits == 16 && is(0xF800, 0x7E0, 0x1F)) {
    layout.green_bits = 6;
    return layout;
  }
  if (header.bits == 24 && usual) return layout;
  if (header.bits == 32) {
    if (usual || is(0, 0, 0)) return layout;
    if (is(0xFF000000, 0xFF0000, 0xFF00)) layout.at = {3, 2, 1};
    if (is(0xFF000000, 0xFF00, 0xFF)) layout.at = {3, 1, 0};
    if (is(0xFF, 0xFF00, 0xFF0000)) layout.at = {0, 1, 2};
    if (layout.at != std::array<uint8_t, 3>{2, 1, 0}) return layout;
  }
  return UnsupportedImage(kFormat, "these colour masks");
}

absl::Status DecodeRaw(std::string_view bytes, const Header& header, Image& image) {
  const uint32_t bits = header.bits;
  const size_t stride = (static_cast<size_t>(image.width) * bits + 31) / 32 * 4;
  const size_t row_bytes = (static_cast<size_t>(image.width) * bits + 7) / 8;
  const size_t needed = stride * static_cast<size_t>(image.height - 1) + row_bytes;
  if (header.pixels_at > bytes.size() || bytes.size() - header.pixels_at < needed) {
    return TruncatedImage(kFormat);
  }
  Palette palette{};
  if (bits <= 8) {
    TESSERA_ASSIGN_OR_RETURN(palette, ReadPalette(bytes, header));
  }
  TESSERA_ASSIGN_OR_RETURN(const PixelLayout layout, ReadLayout(header));
  for (int64_t i = 0; i < image.height; ++i) {
    const std::string_view row =
        bytes.substr(header.pixels_at + static_cast<size_t>(i) * stride, row_bytes);
    uint8_t* out = Row(image, header.top_down, i);
    if (bits <= 8) {
      PaletteRow(row, bits, palette, image.width, out);
    } else if (bits == 16) {
      Row16(row, layout.green_bits, image.width, out);
    } else {
      ByteRow(row, bits / 8, layout.at, image.width, out);
    }
  }
  return absl::OkStatus();
}

// Run-length data to one index per pixel, in file order. Absolute runs of an odd number of 4-bit
// pixels lose the last one, and padding goes by the position in the file: both are Pillow's ways,
// and equality with it is the contract.
class RleReader {
 public:
  RleReader(std::string_view bytes, const Header& header)
      : bytes_(bytes),
        at_(header.pixels_at),
        rle4_(header.compression == kRle4),
        width_(static_cast<size_t>(header.size.width)),
        total_(width_ * static_cast<size_t>(header.size.height)) {}

  // False: the data ends before the picture is full.
  bool Read() {
    indices_.reserve(total_);
    while (indices_.size() < total_) {
      if (at_ + 2 > bytes_.size()) return false;
      const size_t first = ByteAt(bytes_, at_);
      const size_t second = ByteAt(bytes_, at_ + 1);
      at_ += 2;
      if (first != 0) {
        Run(first, static_cast<uint8_t>(second));
      } else if (second == 0) {
        Append((width_ - indices_.size() % width_) % width_, 0);
        x_ = 0;
      } else if (second == 1) {
        return false;
      } else if (second == 2) {
        if (!Skip()) return false;
      } else if (!Absolute(second)) {
        return false;
      }
    }
    return true;
  }
  const std::vector<uint8_t>& indices() const { return indices_; }  // at least `total` of them

 private:
  void Append(size_t count, uint8_t index) {
    // One command may ask for far more than the picture holds.
    indices_.insert(indices_.end(), std::min(count, total_ - indices_.size()), index);
  }
  void Run(size_t count, uint8_t value) {
    count = std::min(count, width_ - std::min(x_, width_));
    for (size_t i = 0; i < count; ++i) {
      Append(1, !rle4_ ? value : i % 2 == 0 ? value >> 4 : value & 15);
    }
    x_ += count;
  }
  bool Skip() {
    if (at_ + 4 > bytes_.size()) return false;
    // Pillow reads the two distances twice and uses the second pair.
    const size_t right = ByteAt(bytes_, at_ + 2);
    const size_t up = ByteAt(bytes_, at_ + 3);
    at_ += 4;
    Append(right + up * width_, 0);
    x_ = indices_.size() % width_;
    return true;
  }
  bool Absolute(size_t count) {
    const size_t length = rle4_ ? count / 2 : count;
    const size_t available = std::min(length, bytes_.size() - at_);
    for (size_t i = 0; i < available; ++i) {
      const uint8_t value = static_cast<uint8_t>(ByteAt(bytes_, at_ + i));
      if (rle4_) Append(1, value >> 4);
      Append(1, rle4_ ? value & 15 : value);
    }
    if (available < length) return false;
    at_ += length;
    at_ += at_ % 2;
    x_ += count;
    return true;
  }

  const std::string_view bytes_;
  size_t at_;
  const bool rle4_;
  const size_t width_;
  const size_t total_;
  size_t x_ = 0;
  std::vector<uint8_t> indices_;
};

absl::Status DecodeRle(std::string_view bytes, const Header& header, Image& image) {
  TESSERA_ASSIGN_OR_RETURN(const Palette palette, ReadPalette(bytes, header));
  RleReader reader(bytes, header);
  if (!reader.Read()) return TruncatedImage(kFormat);
  const uint8_t* index = reader.indices().data();
  for (int64_t i = 0; i < image.height; ++i) {
    uint8_t* out = Row(image, header.top_down, i);
    for (int64_t x = 0; x < image.width; ++x, out += 3) {
      std::memcpy(out, palette[*index++].data(), 3);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ImageSize> ReadBmpSize(std::string_view bytes) {
  TESSERA_ASSIGN_OR_RETURN(const Header header, ReadHeader(bytes));
  return header.size;
}

absl::Status DecodeBmp(std::string_view bytes, Image& image) {
  TESSERA_ASSIGN_OR_RETURN(const Header header, ReadHeader(bytes));
  const uint32_t bits = header.bits;
  if (bits != 1 && bits != 4 && bits != 8 && bits != 16 && bits != 24 && bits != 32) {
    return UnsupportedImage(kFormat, "this pixel depth");
  }
  const bool rle = header.compression == kRle4 || header.compression == kRle8;
  if (rle && bits <= 8) return DecodeRle(bytes, header, image);
  if (header.compression != kRaw && header.compression != kBitfields) {
    return UnsupportedImage(kFormat, "this compression");
  }
  if (header.compression == kBitfields && bits <= 8) {
    return UnsupportedImage(kFormat, "colour masks and a palette");
  }
  return DecodeRaw(bytes, header, image);
}

}  // namespace tessera::prompt
