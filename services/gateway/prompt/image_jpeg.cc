// JPEG by libjpeg-turbo with its defaults (accurate integer IDCT, fancy upsampling), which are
// Pillow's.
// jpeglib.h uses FILE and size_t without including what declares them.
// clang-format off
#include <cstdio>

#include <jpeglib.h>
// clang-format on

#include <csetjmp>

#include "services/gateway/prompt/image_codec.h"

namespace tessera::prompt {
namespace {

constexpr ImageFormat kFormat = ImageFormat::kJpeg;

// An encoder writes about ten scans; each costs a pass over all coefficients, so thousands are an
// attack.
constexpr int kMaxScans = 100;

enum class Outcome { kOk, kTruncated, kDamaged, kUnsupported };

// Everything that the callbacks share. libjpeg reports errors by a call that must not return, hence
// the jump; no object with a destructor is created between setjmp and the calls that can jump.
struct Decoder {
  jpeg_decompress_struct info;
  jpeg_error_mgr errors;
  jpeg_source_mgr source;
  jpeg_progress_mgr progress;
  std::jmp_buf jump;
  Outcome outcome;
};

[[noreturn]] void Stop(j_common_ptr info, Outcome outcome) {
  auto* decoder = static_cast<Decoder*>(info->client_data);
  decoder->outcome = outcome;
  std::longjmp(decoder->jump, 1);
}

void OnError(j_common_ptr info) { Stop(info, Outcome::kDamaged); }
void OnMessage(j_common_ptr, int) {}  // warnings: decoding goes on, as in Pillow
void OnOutput(j_common_ptr) {}
void OnSourceStart(j_decompress_ptr) {}
boolean OnSourceEmpty(j_decompress_ptr info) {
  Stop(reinterpret_cast<j_common_ptr>(info), Outcome::kTruncated);
}
void OnSourceSkip(j_decompress_ptr info, long count) {  // NOLINT(runtime/int): libjpeg's signature
  if (count <= 0) return;
  if (static_cast<size_t>(count) > info->src->bytes_in_buffer) OnSourceEmpty(info);
  info->src->next_input_byte += count;
  info->src->bytes_in_buffer -= count;
}
void OnProgress(j_common_ptr info) {
  auto* decompress = reinterpret_cast<j_decompress_ptr>(info);
  if (decompress->input_scan_number > kMaxScans) Stop(info, Outcome::kUnsupported);
}

void Start(Decoder& decoder, std::string_view bytes) {
  decoder.info.err = jpeg_std_error(&decoder.errors);
  decoder.errors.error_exit = OnError;
  decoder.errors.emit_message = OnMessage;
  decoder.errors.output_message = OnOutput;
  decoder.info.client_data = &decoder;
  decoder.source.next_input_byte = reinterpret_cast<const JOCTET*>(bytes.data());
  decoder.source.bytes_in_buffer = bytes.size();
  decoder.source.init_source = OnSourceStart;
  decoder.source.fill_input_buffer = OnSourceEmpty;
  decoder.source.skip_input_data = OnSourceSkip;
  decoder.source.resync_to_restart = jpeg_resync_to_restart;
  decoder.source.term_source = OnSourceStart;
  decoder.progress.progress_monitor = OnProgress;
}

// Pillow inverts CMYK samples (Adobe's convention), then takes C, M and Y off the inverse of K.
void CmykRowToRgb(const uint8_t* cmyk, int64_t width, uint8_t* rgb) {
  for (int64_t x = 0; x < width; ++x, cmyk += 4, rgb += 3) {
    const int inverse_k = cmyk[3];
    for (int c = 0; c < 3; ++c) {
      const int product = (255 - cmyk[c]) * inverse_k + 128;
      rgb[c] = static_cast<uint8_t>(inverse_k - ((product + (product >> 8)) >> 8));
    }
  }
}

// Fills image.rgb. `row` has width * 4 bytes. Jumps out through decoder.jump on errors.
void DecodeRows(Decoder& decoder, Image& image, uint8_t* row) {
  jpeg_decompress_struct& info = decoder.info;
  j_common_ptr common = reinterpret_cast<j_common_ptr>(&info);
  jpeg_create_decompress(&info);
  info.client_data = &decoder;
  info.src = &decoder.source;
  info.progress = &decoder.progress;
  jpeg_read_header(&info, TRUE);
  if (info.image_width != image.width || info.image_height != image.height) OnError(common);
  const bool cmyk = info.num_components == 4;
  if (info.num_components == 2 || info.num_components > 4) Stop(common, Outcome::kUnsupported);
  // libjpeg turns gray into R = G = B itself.
  info.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
  jpeg_start_decompress(&info);
  while (info.output_scanline < info.output_height) {
    uint8_t* rgb = image.rgb.data() + static_cast<size_t>(info.output_scanline) * image.width * 3;
    JSAMPROW target = cmyk ? row : rgb;
    jpeg_read_scanlines(&info, &target, 1);
    if (cmyk) CmykRowToRgb(row, image.width, rgb);
  }
  jpeg_finish_decompress(&info);  // reads on to the end marker: a file without one is truncated
}

Outcome Run(Decoder& decoder, Image& image, uint8_t* row) {
  decoder.outcome = Outcome::kOk;
  if (setjmp(decoder.jump) == 0) DecodeRows(decoder, image, row);
  return decoder.outcome;
}

}  // namespace

absl::StatusOr<ImageSize> ReadJpegSize(std::string_view bytes) {
  size_t at = 2;  // after the start-of-image marker
  while (true) {
    // Like libjpeg: skip anything up to a byte FF that is followed by neither FF (filler) nor 00.
    while (at + 1 < bytes.size() && !(ByteAt(bytes, at) == 0xFF && ByteAt(bytes, at + 1) != 0xFF &&
                                      ByteAt(bytes, at + 1) != 0)) {
      ++at;
    }
    if (at + 1 >= bytes.size()) return TruncatedImage(kFormat);
    const uint32_t marker = ByteAt(bytes, at + 1);
    at += 2;
    const bool without_length = marker == 0x01 || (marker >= 0xD0 && marker <= 0xD7);
    if (without_length) continue;
    if (marker == 0xD8 || marker == 0xD9 || marker == 0xDA) return DamagedImage(kFormat);
    if (at + 2 > bytes.size()) return TruncatedImage(kFormat);
    const uint32_t length = BigEndian16(bytes, at);
    if (length < 2) return DamagedImage(kFormat);
    const bool frame =
        marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
    if (frame) {
      if (at + 8 > bytes.size()) return TruncatedImage(kFormat);
      if (ByteAt(bytes, at + 2) != 8) return UnsupportedImage(kFormat, "other than 8-bit samples");
      return ImageSize{.width = BigEndian16(bytes, at + 5), .height = BigEndian16(bytes, at + 3)};
    }
    at += length;
  }
}

absl::Status DecodeJpeg(std::string_view bytes, Image& image) {
  std::vector<uint8_t> row(static_cast<size_t>(image.width) * 4);
  Decoder decoder = {};
  Start(decoder, bytes);
  const Outcome outcome = Run(decoder, image, row.data());
  jpeg_destroy_decompress(&decoder.info);
  switch (outcome) {
    case Outcome::kOk:
      return absl::OkStatus();
    case Outcome::kTruncated:
      return TruncatedImage(kFormat);
    case Outcome::kUnsupported:
      return UnsupportedImage(kFormat, "this number of colours or scans");
    case Outcome::kDamaged:
      break;
  }
  return DamagedImage(kFormat);
}

}  // namespace tessera::prompt
