// Pictures that are cut off, damaged, too large or no pictures at all.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstring>
#include <random>

#include "services/gateway/prompt/image.h"
#include "tests/services/gateway/prompt/image_test_files.h"

namespace tessera::prompt {
namespace {

namespace fs = std::filesystem;
using std::string_literals::operator""s;

std::vector<fs::path> SmallPictures() {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(fs::path(TESSERA_FIXTURES) / "images")) {
    const std::string extension = entry.path().extension();
    if (extension != ".json" && extension != ".md" && extension != ".py") {
      paths.push_back(entry.path());
    }
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

// Either a picture with all its pixels, or INVALID_ARGUMENT with a text of our own.
void ExpectPictureOrRefusal(std::string_view bytes) {
  ImageLimits limits;
  limits.max_pixels = 1 << 20;
  const absl::StatusOr<Image> image = DecodeImage(bytes, limits);
  if (image.ok()) {
    EXPECT_EQ(image->rgb.size(), static_cast<size_t>(image->width * image->height * 3));
    return;
  }
  EXPECT_EQ(image.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(image.status().message().substr(0, 7), "image: ");
  EXPECT_EQ(image.status().message().find("0x"), std::string_view::npos);
}

std::string LittleEndian(uint32_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(uint64_t{value} >> (8 * i) & 255);
  return text;
}
std::string BigEndian(uint32_t value, int bytes) {
  const std::string text = LittleEndian(value, bytes);
  return {text.rbegin(), text.rend()};
}

// Headers alone, as a bomb would begin. WebP's bitstreams cannot say 50,000; its canvas can.
std::vector<std::string> HugeHeaders() {
  constexpr uint32_t kSide = 50'000;
  return {"\xFF\xD8\xFF\xC0\x00\x11\x08"s + BigEndian(kSide, 2) + BigEndian(kSide, 2) +
              "\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01"s,
          "\x89PNG\r\n\x1A\n\x00\x00\x00\rIHDR"s + BigEndian(kSide, 4) + BigEndian(kSide, 4) +
              "\x08\x02\x00\x00\x00\x00\x00\x00\x00"s,
          "RIFF\xFF\xFF\x00\x00WEBPVP8X\x0A\x00\x00\x00\x00\x00\x00\x00"s +
              LittleEndian(kSide - 1, 3) + LittleEndian(kSide - 1, 3),
          "GIF89a"s + LittleEndian(kSide, 2) + LittleEndian(kSide, 2) + "\x00\x00\x00,"s +
              LittleEndian(0, 8) + "\x00\x02"s,
          "GIF89a\x01\x00\x01\x00\x00\x00\x00,\x00\x00\x00\x00"s + LittleEndian(kSide, 2) +
              LittleEndian(kSide, 2) + "\x00\x02"s,
          "BM"s + std::string(12, 0) + LittleEndian(40, 4) + LittleEndian(kSide, 4) +
              LittleEndian(kSide, 4) + "\x01\x00\x18\x00"s + std::string(24, 0)};
}

TEST(ImageBadInput, HugePictureIsRefusedByItsHeader) {
  rusage before{};
  getrusage(RUSAGE_SELF, &before);
  for (const std::string& bytes : HugeHeaders()) {
    const absl::StatusOr<Image> image = DecodeImage(bytes, ImageLimits{});
    ASSERT_EQ(image.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(image.status().message().find("50000 x 50000 pixels"), std::string_view::npos)
        << image.status();
    EXPECT_NE(image.status().message().find("16384"), std::string_view::npos) << image.status();
  }
  rusage after{};
  getrusage(RUSAGE_SELF, &after);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 16 << 10) << "KiB";
}

TEST(ImageBadInput, LimitsAreInclusive) {
  const std::string bytes =
      ReadTestFile(fs::path(TESSERA_FIXTURES) / "images" / "type2_depth8.png");
  ImageLimits limits;
  limits.max_bytes = static_cast<int64_t>(bytes.size());
  limits.max_side_pixels = 13;
  limits.max_pixels = 13 * 9;
  EXPECT_TRUE(DecodeImage(bytes, limits).ok());
  ImageLimits tight = limits;
  --tight.max_bytes;
  EXPECT_NE(DecodeImage(bytes, tight).status().message().find("bytes, at most"),
            std::string_view::npos);
  tight = limits;
  --tight.max_side_pixels;
  EXPECT_NE(DecodeImage(bytes, tight).status().message().find("at most 12"),
            std::string_view::npos);
  tight = limits;
  --tight.max_pixels;
  EXPECT_NE(DecodeImage(bytes, tight).status().message().find("at most 116"),
            std::string_view::npos);
}

TEST(ImageBadInput, EmptyAndUnknownFilesAreRefused) {
  EXPECT_EQ(DecodeImage("", ImageLimits{}).status().message(), "image: 0 bytes");
  for (const std::string& text : {"hello"s, "<svg></svg>"s, "P6 1 1 255 abc"s, "II*\0\x08\0\0\0"s,
                                  "\0\0\0\x1c"
                                  "ftypavif"s,
                                  "%!PS"s, "%PDF-1.4"s, "\0"s}) {
    const absl::StatusOr<Image> image = DecodeImage(text, ImageLimits{});
    ASSERT_EQ(image.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(image.status().message().find("JPEG, PNG, WebP, GIF and BMP"),
              std::string_view::npos);
  }
}

TEST(ImageBadInput, SideOfZeroIsRefused) {
  std::string png = ReadTestFile(fs::path(TESSERA_FIXTURES) / "images" / "type2_depth8.png");
  std::memset(png.data() + 16, 0, 4);
  EXPECT_NE(DecodeImage(png, ImageLimits{}).status().message().find("0 x 9"),
            std::string_view::npos);
}

TEST(ImageBadInput, OnePixelWorks) {
  for (const char* name : {"images/rgb_1x1.jpg", "golden/processor/images/rgb_1x1.png"}) {
    const auto image = DecodeImage(ReadTestFile(fs::path(TESSERA_FIXTURES) / name), ImageLimits{});
    ASSERT_TRUE(image.ok()) << image.status();
    EXPECT_EQ(image->rgb.size(), 3u);
  }
}

// Pillow refuses a picture that ends before its last pixel in every format, so a cut picture either
// is refused or has lost nothing but what follows the pixels.
TEST(ImageBadInput, CutPictureIsRefusedOrWhole) {
  for (const fs::path& path : SmallPictures()) {
    SCOPED_TRACE(path.filename().string());
    const std::string bytes = ReadTestFile(path);
    const absl::StatusOr<Image> whole = DecodeImage(bytes, ImageLimits{});
    for (size_t length = 0; length<bytes.size(); length += bytes.size()> 2000 ? 97 : 13) {
      // A copy without slack, so that an address sanitizer sees a read past the end.
      const std::vector<char> cut(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(length));
      const auto image = DecodeImage(std::string_view(cut.data(), cut.size()), ImageLimits{});
      if (image.ok()) {
        ASSERT_TRUE(whole.ok());
        EXPECT_EQ(image->rgb, whole->rgb) << "first " << length << " bytes";
      } else {
        EXPECT_EQ(image.status().code(), absl::StatusCode::kInvalidArgument);
      }
    }
  }
}

TEST(ImageBadInput, HalfAFileIsCalledTruncated) {
  for (const char* name : {"rgb_420_odd.jpg", "rgb_422_progressive.jpg", "type2_depth8.png",
                           "lossy.webp", "lossless.webp", "animated_offset.webp", "plain.gif",
                           "interlaced.gif", "depth24.bmp", "rle8.bmp"}) {
    SCOPED_TRACE(name);
    const std::string bytes = ReadTestFile(fs::path(TESSERA_FIXTURES) / "images" / name);
    const size_t cut = std::string_view(name) == "rle8.bmp" ? bytes.size() - 10 : bytes.size() / 2;
    const auto image = DecodeImage(std::string_view(bytes).substr(0, cut), ImageLimits{});
    EXPECT_EQ(image.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(image.status().message().find("truncated"), std::string_view::npos) << image.status();
  }
}

TEST(ImageBadInput, DamagedBytesNeverCrash) {
  std::minstd_rand random(7);
  for (const fs::path& path : SmallPictures()) {
    SCOPED_TRACE(path.filename().string());
    const std::string bytes = ReadTestFile(path);
    for (int round = 0; round < 40; ++round) {
      std::string damaged = bytes;
      for (int i = 0; i <= round % 8; ++i) {
        damaged[random() % damaged.size()] = static_cast<char>(random());
      }
      ExpectPictureOrRefusal(damaged);
    }
  }
}

TEST(ImageBadInput, RandomBytesBehindEachMagicNeverCrash) {
  std::minstd_rand random(11);
  const std::vector<std::string> magics = {
      "\xFF\xD8\xFF"s,
      "\x89PNG\r\n\x1A\n"s,
      "\x89PNG\r\n\x1A\n\0\0\0\rIHDR\0\0\0\x10\0\0\0\x10\x08\x02\0\0\0"s,
      "GIF89a"s,
      "GIF89a\x10\0\x10\0\0\0\0,\0\0\0\0\x10\0\x10\0\0\x08"s,
      "RIFF\x80\0\0\0WEBP"s,
      "RIFF\x80\0\0\0WEBPVP8L\x74\0\0\0\x2F\x0F\0\x04\0"s,
      "BM"s,
      "BM\0\0\0\0\0\0\0\0\0\0\0\0\x28\0\0\0\x08\0\0\0\x08\0\0\0\x01\0\x08\0\x01\0\0\0"s};
  for (const std::string& magic : magics) {
    for (int round = 0; round < 200; ++round) {
      std::string bytes = magic;
      const size_t tail = random() % 300;
      for (size_t i = 0; i < tail; ++i) bytes += static_cast<char>(random());
      ExpectPictureOrRefusal(bytes);
    }
  }
}

}  // namespace
}  // namespace tessera::prompt
