#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "services/gateway/prompt/resample.h"
#include "services/gateway/prompt/resample_kernels.h"
#include "tests/services/gateway/prompt/image_test_files.h"

namespace tessera::prompt {
namespace {

// The same bytes as in tests/fixtures/images/make_fixtures.py.
Image Noise(int64_t width, int64_t height, uint32_t seed) {
  Image image{.width = width, .height = height};
  uint32_t state = seed;
  for (int64_t i = 0; i < width * height * 3; ++i) {
    state = state * 1664525 + 1013904223;
    image.rgb.push_back(static_cast<uint8_t>(state >> 24));
  }
  return image;
}

void ExpectPillowsBytes(bool avx2) {
  const auto cases = nlohmann::json::parse(
      ReadTestFile(std::filesystem::path(TESSERA_FIXTURES) / "images" / "resample.json"));
  for (const auto& one : cases) {
    SCOPED_TRACE(one.dump());
    const Image image = Noise(one["width"], one["height"], one["seed"]);
    const int64_t width = one["out_width"];
    const int64_t height = one["out_height"];
    std::vector<uint8_t> out;
    int64_t rows = 0;
    ResampleBicubicWith(image, width, height, avx2, [&](int64_t y, const uint8_t* row) {
      EXPECT_EQ(y, rows++);
      out.insert(out.end(), row, row + width * 3);
    });
    EXPECT_EQ(rows, height);
    EXPECT_EQ(HashOf(out.data(), out.size()), one["rgb_sha256"].get<std::string>());
  }
  EXPECT_GE(cases.size(), 50u);
}

TEST(ResampleBicubic, PortableKernelsEqualPillow) { ExpectPillowsBytes(false); }

TEST(ResampleBicubic, Avx2KernelsEqualPillow) {
  if (!HasAvx2()) GTEST_SKIP() << "no AVX2 here";
  ExpectPillowsBytes(true);
}

TEST(ResampleBicubic, SameSizeIsACopy) {
  const Image image = Noise(7, 5, 3);
  std::vector<uint8_t> out;
  ResampleBicubic(image, 7, 5,
                  [&](int64_t, const uint8_t* row) { out.insert(out.end(), row, row + 21); });
  EXPECT_EQ(out, image.rgb);
}

TEST(ResampleBicubic, ASingleColourStaysUnlessRoundingLosesIt) {
  for (const uint8_t value : {0, 1, 127, 128, 254, 255}) {
    const Image image{.width = 50, .height = 40, .rgb = std::vector<uint8_t>(50 * 40 * 3, value)};
    ResampleBicubic(image, 13, 77, [&](int64_t, const uint8_t* row) {
      for (int i = 0; i < 13 * 3; ++i) ASSERT_EQ(row[i], value);
    });
  }
}

TEST(SplitChannels, EveryLengthWorks) {
  for (int64_t pixels = 0; pixels < 70; ++pixels) {
    const Image image = Noise(pixels, 1, 5);
    std::vector<uint8_t> planes(static_cast<size_t>(pixels) * 3 + 1, 99);
    SplitChannels(image.rgb.data(), pixels, planes.data(), planes.data() + pixels,
                  planes.data() + 2 * pixels);
    for (int64_t i = 0; i < pixels * 3; ++i) {
      ASSERT_EQ(planes[static_cast<size_t>(i % 3 * pixels + i / 3)],
                image.rgb[static_cast<size_t>(i)]);
    }
    EXPECT_EQ(planes.back(), 99);
  }
}

}  // namespace
}  // namespace tessera::prompt
