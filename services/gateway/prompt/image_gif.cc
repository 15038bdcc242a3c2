// The first frame of a GIF. Blocks are walked by own code that follows Pillow; giflib undoes the
// LZW.
#include <gif_lib.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>

#include "services/base/status_macros.h"
#include "services/gateway/prompt/image_codec.h"

namespace tessera::prompt {
namespace {

constexpr ImageFormat kFormat = ImageFormat::kGif;
constexpr size_t kScreenHeaderBytes = 13;

using Palette = std::array<std::array<uint8_t, 3>, 256>;

struct FirstFrame {
  ImageSize canvas;  // the screen, enlarged where the frame reaches beyond it
  int64_t x = 0;     // pixels from the canvas's left
  int64_t y = 0;     // pixels from the canvas's top
  ImageSize size;
  bool interlaced = false;
  int background = 0;  // palette index around the frame: the transparent one if there is one
  Palette palette{};
};

// Pillow keeps a palette only if it is not 0, 1, 2, …; a picture without one is gray.
bool IsGrayRamp(std::string_view entries) {
  for (size_t i = 0; i < entries.size(); ++i) {
    if (ByteAt(entries, i) != i / 3) return false;
  }
  return true;
}

// An index past the entries is black.
Palette MakePalette(std::string_view entries) {
  Palette palette{};
  for (size_t i = 0; i < entries.size(); ++i) palette[i / 3][i % 3] = ByteAt(entries, i);
  return palette;
}

Palette GrayPalette() {
  Palette palette;
  for (size_t i = 0; i < palette.size(); ++i) palette[i].fill(static_cast<uint8_t>(i));
  return palette;
}

// Skips sub-blocks from `at` on, past the empty one that ends them.
absl::StatusOr<size_t> SkipSubBlocks(std::string_view bytes, size_t at) {
  while (true) {
    if (at >= bytes.size()) return TruncatedImage(kFormat);
    const size_t length = ByteAt(bytes, at);
    at += 1 + length;
    if (length == 0) return at;
  }
}

// `at`: just after the image separator.
absl::Status ReadDescriptor(std::string_view bytes, size_t at,
                            std::optional<std::string_view> global, FirstFrame& frame) {
  if (at + 9 > bytes.size()) return TruncatedImage(kFormat);
  frame.x = LittleEndian16(bytes, at);
  frame.y = LittleEndian16(bytes, at + 2);
  frame.size = {.width = LittleEndian16(bytes, at + 4), .height = LittleEndian16(bytes, at + 6)};
  frame.canvas.width = std::max(frame.canvas.width, frame.x + frame.size.width);
  frame.canvas.height = std::max(frame.canvas.height, frame.y + frame.size.height);
  const uint32_t flags = ByteAt(bytes, at + 8);
  frame.interlaced = (flags & 64) != 0;
  std::optional<std::string_view> entries = global;
  if ((flags & 128) != 0) {
    const size_t length = size_t{6} << (flags & 7);
    if (at + 9 + length > bytes.size()) return TruncatedImage(kFormat);
    const std::string_view local = bytes.substr(at + 9, length);
    // Pillow falls back to the global palette where the local one is a gray ramp.
    if (!IsGrayRamp(local) || !global.has_value()) entries = local;
  }
  if (entries.has_value() && IsGrayRamp(*entries)) entries.reset();
  frame.palette = entries.has_value() ? MakePalette(*entries) : GrayPalette();
  return absl::OkStatus();
}

absl::StatusOr<FirstFrame> ReadFirstFrame(std::string_view bytes) {
  if (bytes.size() < kScreenHeaderBytes) return TruncatedImage(kFormat);
  FirstFrame frame;
  frame.canvas = {.width = LittleEndian16(bytes, 6), .height = LittleEndian16(bytes, 8)};
  size_t at = kScreenHeaderBytes;
  std::optional<std::string_view> global;
  if (const uint32_t flags = ByteAt(bytes, 10); (flags & 128) != 0) {
    const size_t length = size_t{6} << (flags & 7);
    if (at + length > bytes.size()) return TruncatedImage(kFormat);
    const std::string_view entries = bytes.substr(at, length);
    if (!IsGrayRamp(entries)) global = entries;
    at += length;
  }
  while (at < bytes.size()) {
    const char block = bytes[at++];
    if (block == ',') {
      TESSERA_RETURN_IF_ERROR(ReadDescriptor(bytes, at, global, frame));
      return frame;
    }
    if (block != '!') return DamagedImage(kFormat);  // the trailer included: there is no picture
    if (at + 2 > bytes.size()) return TruncatedImage(kFormat);
    const bool control = ByteAt(bytes, at) == 0xF9 && ByteAt(bytes, at + 1) >= 4;
    if (control) {
      if (at + 6 > bytes.size()) return TruncatedImage(kFormat);
      frame.background = (ByteAt(bytes, at + 2) & 1) != 0 ? ByteAt(bytes, at + 5) : 0;
    }
    TESSERA_ASSIGN_OR_RETURN(at, SkipSubBlocks(bytes, at + 1));
  }
  return TruncatedImage(kFormat);
}

struct Source {
  std::string_view rest;
  bool truncated = false;
};

int OnRead(GifFileType* file, GifByteType* out, int count) {
  auto* source = static_cast<Source*>(file->UserData);
  const size_t taken = std::min(static_cast<size_t>(std::max(count, 0)), source->rest.size());
  if (taken < static_cast<size_t>(count)) source->truncated = true;
  std::memcpy(out, source->rest.data(), taken);
  source->rest.remove_prefix(taken);
  return static_cast<int>(taken);
}

struct CloseGif {
  void operator()(GifFileType* file) const { DGifCloseFile(file, nullptr); }
};

// Moves giflib past the extensions to the first picture. False: it found none.
bool FindPicture(GifFileType* file) {
  GifRecordType record;
  while (DGifGetRecordType(file, &record) != GIF_ERROR) {
    if (record == IMAGE_DESC_RECORD_TYPE) return DGifGetImageDesc(file) != GIF_ERROR;
    if (record != EXTENSION_RECORD_TYPE) return false;
    int code = 0;
    GifByteType* block = nullptr;
    if (DGifGetExtension(file, &code, &block) == GIF_ERROR) return false;
    while (block != nullptr) {
      if (DGifGetExtensionNext(file, &block) == GIF_ERROR) return false;
    }
  }
  return false;
}

// The order in which an interlaced picture's rows come.
int64_t RowAt(const FirstFrame& frame, int64_t index) {
  if (!frame.interlaced) return index;
  constexpr int64_t kStart[] = {0, 4, 2, 1};
  constexpr int64_t kStep[] = {8, 8, 4, 2};
  for (int pass = 0; pass < 4; ++pass) {
    const int64_t rows = (frame.size.height - kStart[pass] + kStep[pass] - 1) / kStep[pass];
    if (index < rows) return kStart[pass] + index * kStep[pass];
    index -= std::max<int64_t>(rows, 0);
  }
  return frame.size.height - 1;
}

void FillCanvas(const FirstFrame& frame, Image& image) {
  const auto& color = frame.palette[static_cast<size_t>(frame.background)];
  for (size_t i = 0; i < image.rgb.size(); i += 3) std::memcpy(&image.rgb[i], color.data(), 3);
}

}  // namespace

absl::StatusOr<ImageSize> ReadGifSize(std::string_view bytes) {
  TESSERA_ASSIGN_OR_RETURN(const FirstFrame frame, ReadFirstFrame(bytes));
  return frame.canvas;
}

absl::Status DecodeGif(std::string_view bytes, Image& image) {
  TESSERA_ASSIGN_OR_RETURN(const FirstFrame frame, ReadFirstFrame(bytes));
  if (frame.size.width == 0 || frame.size.height == 0) return DamagedImage(kFormat);
  Source source{.rest = bytes};
  int error = 0;
  const std::unique_ptr<GifFileType, CloseGif> file(DGifOpen(&source, OnRead, &error));
  const auto failure = [&source] {
    return source.truncated ? TruncatedImage(kFormat) : DamagedImage(kFormat);
  };
  if (file == nullptr || !FindPicture(file.get())) return failure();
  if (file->Image.Width != frame.size.width || file->Image.Height != frame.size.height) {
    return DamagedImage(kFormat);
  }
  FillCanvas(frame, image);
  std::vector<uint8_t> indices(static_cast<size_t>(frame.size.width));
  for (int64_t i = 0; i < frame.size.height; ++i) {
    if (DGifGetLine(file.get(), indices.data(), static_cast<int>(indices.size())) == GIF_ERROR) {
      return failure();
    }
    const int64_t y = frame.y + RowAt(frame, i);
    uint8_t* out = image.rgb.data() + (y * image.width + frame.x) * 3;
    for (const uint8_t index : indices) {
      std::memcpy(out, frame.palette[index].data(), 3);
      out += 3;
    }
  }
  return absl::OkStatus();
}

}  // namespace tessera::prompt
