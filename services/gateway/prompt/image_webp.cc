// WebP by libwebp. Of an animation the first frame, on a black canvas, as Pillow gives it.
#include <webp/decode.h>

#include "services/base/status_macros.h"
#include "services/gateway/prompt/image_codec.h"

namespace tessera::prompt {
namespace {

constexpr ImageFormat kFormat = ImageFormat::kWebp;
constexpr size_t kRiffHeaderBytes = 12;
constexpr size_t kChunkHeaderBytes = 8;
constexpr uint32_t kAnimationFlag = 0x02;

struct Chunk {
  std::string_view fourcc;
  std::string_view payload;
  std::string_view with_header;  // header, payload and padding
};

// Takes the first chunk off `rest`.
absl::StatusOr<Chunk> TakeChunk(std::string_view& rest) {
  if (rest.size() < kChunkHeaderBytes) return TruncatedImage(kFormat);
  const size_t length = LittleEndian32(rest, 4);
  if (length > rest.size() - kChunkHeaderBytes) return TruncatedImage(kFormat);
  const size_t padded = std::min(kChunkHeaderBytes + length + (length & 1), rest.size());
  Chunk chunk{.fourcc = rest.substr(0, 4),
              .payload = rest.substr(kChunkHeaderBytes, length),
              .with_header = rest.substr(0, padded)};
  rest.remove_prefix(padded);
  return chunk;
}

// The size that a `VP8 ` or `VP8L` bitstream states.
absl::StatusOr<ImageSize> BitstreamSize(const Chunk& chunk) {
  if (chunk.fourcc == "VP8L") {
    if (chunk.payload.size() < 5) return TruncatedImage(kFormat);
    if (ByteAt(chunk.payload, 0) != 0x2F) return DamagedImage(kFormat);
    const uint32_t bits = LittleEndian32(chunk.payload, 1);
    return ImageSize{.width = (bits & 0x3FFF) + 1, .height = (bits >> 14 & 0x3FFF) + 1};
  }
  if (chunk.payload.size() < 10) return TruncatedImage(kFormat);
  if (chunk.payload.substr(3, 3) != "\x9D\x01\x2A") return DamagedImage(kFormat);
  return ImageSize{.width = LittleEndian16(chunk.payload, 6) & 0x3FFF,
                   .height = LittleEndian16(chunk.payload, 8) & 0x3FFF};
}

struct Frame {
  std::string_view data;  // an optional ALPH chunk and the bitstream's chunk, as libwebp takes them
  ImageSize size;
  int64_t x = 0;  // pixels from the canvas's left
  int64_t y = 0;  // pixels from the canvas's top
};

// Finds the bitstream in `rest` (a file after its header, or an animation frame's payload).
absl::StatusOr<Frame> FindBitstream(std::string_view rest) {
  const char* begin = rest.data();
  while (true) {
    TESSERA_ASSIGN_OR_RETURN(const Chunk chunk, TakeChunk(rest));
    if (chunk.fourcc == "ALPH") begin = chunk.with_header.data();
    if (chunk.fourcc != "VP8 " && chunk.fourcc != "VP8L") continue;
    Frame frame;
    TESSERA_ASSIGN_OR_RETURN(frame.size, BitstreamSize(chunk));
    const bool after_alpha = begin[0] == 'A' && begin < chunk.with_header.data();
    if (!after_alpha) begin = chunk.with_header.data();
    frame.data = std::string_view(
        begin, static_cast<size_t>(chunk.with_header.data() + chunk.with_header.size() - begin));
    return frame;
  }
}

absl::StatusOr<Frame> FindFirstAnimationFrame(std::string_view rest) {
  while (true) {
    TESSERA_ASSIGN_OR_RETURN(const Chunk chunk, TakeChunk(rest));
    if (chunk.fourcc != "ANMF") continue;
    if (chunk.payload.size() < 16) return TruncatedImage(kFormat);
    TESSERA_ASSIGN_OR_RETURN(Frame frame, FindBitstream(chunk.payload.substr(16)));
    frame.x = int64_t{2} * LittleEndian24(chunk.payload, 0);
    frame.y = int64_t{2} * LittleEndian24(chunk.payload, 3);
    if (frame.size.width != LittleEndian24(chunk.payload, 6) + 1 ||
        frame.size.height != LittleEndian24(chunk.payload, 9) + 1) {
      return DamagedImage(kFormat);
    }
    return frame;
  }
}

struct Layout {
  ImageSize canvas;
  Frame frame;
};

absl::StatusOr<Layout> ReadLayout(std::string_view bytes) {
  const size_t riff_bytes = LittleEndian32(bytes, 4);
  if (riff_bytes + 8 > bytes.size()) return TruncatedImage(kFormat);
  if (riff_bytes < 4 + kChunkHeaderBytes) return DamagedImage(kFormat);
  std::string_view rest = bytes.substr(0, riff_bytes + 8).substr(kRiffHeaderBytes);
  std::string_view ahead = rest;
  TESSERA_ASSIGN_OR_RETURN(const Chunk first, TakeChunk(ahead));
  Layout layout;
  if (first.fourcc == "VP8X") {
    if (first.payload.size() < 10) return TruncatedImage(kFormat);
    layout.canvas = {.width = LittleEndian24(first.payload, 4) + 1,
                     .height = LittleEndian24(first.payload, 7) + 1};
    const bool animated = (ByteAt(first.payload, 0) & kAnimationFlag) != 0;
    TESSERA_ASSIGN_OR_RETURN(layout.frame,
                             animated ? FindFirstAnimationFrame(ahead) : FindBitstream(ahead));
    if (!animated && (layout.frame.size.width != layout.canvas.width ||
                      layout.frame.size.height != layout.canvas.height)) {
      return DamagedImage(kFormat);
    }
  } else if (first.fourcc == "VP8 " || first.fourcc == "VP8L") {
    TESSERA_ASSIGN_OR_RETURN(layout.frame, FindBitstream(rest));
    layout.canvas = layout.frame.size;
  } else {
    return DamagedImage(kFormat);
  }
  if (layout.frame.x + layout.frame.size.width > layout.canvas.width ||
      layout.frame.y + layout.frame.size.height > layout.canvas.height) {
    return DamagedImage(kFormat);
  }
  return layout;
}

}  // namespace

absl::StatusOr<ImageSize> ReadWebpSize(std::string_view bytes) {
  // The canvas alone decides memory, so a picture beyond the limits is refused even where its data
  // is cut off.
  if (bytes.size() >= 30 && bytes.substr(12, 4) == "VP8X") {
    return ImageSize{.width = LittleEndian24(bytes, 24) + 1,
                     .height = LittleEndian24(bytes, 27) + 1};
  }
  if (bytes.size() < kRiffHeaderBytes + kChunkHeaderBytes) return TruncatedImage(kFormat);
  const std::string_view fourcc = bytes.substr(12, 4);
  if (fourcc != "VP8 " && fourcc != "VP8L") {
    return fourcc == "VP8X" ? TruncatedImage(kFormat) : DamagedImage(kFormat);
  }
  return BitstreamSize(
      Chunk{.fourcc = fourcc, .payload = bytes.substr(kRiffHeaderBytes + kChunkHeaderBytes)});
}

absl::Status DecodeWebp(std::string_view bytes, Image& image) {
  TESSERA_ASSIGN_OR_RETURN(const Layout layout, ReadLayout(bytes));
  if (layout.canvas.width != image.width || layout.canvas.height != image.height) {
    return DamagedImage(kFormat);
  }
  const Frame& frame = layout.frame;
  const auto* data = reinterpret_cast<const uint8_t*>(frame.data.data());
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(data, frame.data.size(), &features) != VP8_STATUS_OK ||
      features.width != frame.size.width || features.height != frame.size.height) {
    return DamagedImage(kFormat);
  }
  const int64_t stride = image.width * 3;
  const int64_t offset = frame.y * stride + frame.x * 3;
  uint8_t* target = image.rgb.data() + offset;
  const size_t room = image.rgb.size() - static_cast<size_t>(offset);
  if (WebPDecodeRGBInto(data, frame.data.size(), target, room, static_cast<int>(stride)) ==
      nullptr) {
    return DamagedImage(kFormat);
  }
  return absl::OkStatus();
}

}  // namespace tessera::prompt
