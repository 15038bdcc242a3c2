// Decoded pixels against Pillow's.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "services/gateway/prompt/image.h"
#include "tests/services/gateway/prompt/image_test_files.h"

namespace tessera::prompt {
namespace {

namespace fs = std::filesystem;

void ExpectPixels(const fs::path& path, const nlohmann::json& expected) {
  SCOPED_TRACE(path.filename().string());
  const absl::StatusOr<Image> image = DecodeGolden(path);
  if (expected.contains("refused")) {
    EXPECT_EQ(image.status().code(), absl::StatusCode::kInvalidArgument);
    return;
  }
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->width, expected["width"].get<int64_t>());
  EXPECT_EQ(image->height, expected["height"].get<int64_t>());
  EXPECT_EQ(HashOf(image->rgb.data(), image->rgb.size()),
            expected["rgb_sha256"].get<std::string>());
}

TEST(ImageGolden, EveryReferencePictureHasPillowsPixels) {
  const auto all = nlohmann::json::parse(ReadTestFile(GoldenProcessorDir() / "images.json"));
  int compared = 0;
  for (const auto& [name, expected] : all.items()) {
    const fs::path path = GoldenProcessorDir() / "images" / name;
    if (!fs::exists(path)) continue;  // ref_* pictures are not part of the project
    ExpectPixels(path, expected);
    ++compared;
  }
  EXPECT_GE(compared, 55);
}

TEST(ImageGolden, EverySmallPictureHasPillowsPixels) {
  const fs::path dir = fs::path(TESSERA_FIXTURES) / "images";
  const auto all = nlohmann::json::parse(ReadTestFile(dir / "images.json"));
  for (const auto& [name, expected] : all.items()) ExpectPixels(dir / name, expected);
  EXPECT_GE(all.size(), 60u);
}

TEST(ImageGolden, HeaderAgreesWithThePixels) {
  const fs::path dir = fs::path(TESSERA_FIXTURES) / "images";
  const auto all = nlohmann::json::parse(ReadTestFile(dir / "images.json"));
  for (const auto& [name, expected] : all.items()) {
    SCOPED_TRACE(name);
    if (expected.contains("refused")) continue;
    const auto header = ReadImageHeader(ReadTestFile(dir / name), ImageLimits{});
    ASSERT_TRUE(header.ok()) << header.status();
    EXPECT_EQ(header->width, expected["width"].get<int64_t>());
    EXPECT_EQ(header->height, expected["height"].get<int64_t>());
    const std::string extension = fs::path(name).extension();
    const std::string_view format = ImageFormatName(header->format);
    EXPECT_EQ(extension, format == "JPEG"   ? ".jpg"
                         : format == "PNG"  ? ".png"
                         : format == "WebP" ? ".webp"
                         : format == "GIF"  ? ".gif"
                                            : ".bmp");
  }
}

}  // namespace
}  // namespace tessera::prompt
