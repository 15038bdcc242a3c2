#include "services/gateway/prompt/image_encode.h"

#include <gtest/gtest.h>

namespace tessera::prompt {
namespace {

TEST(EncodePng, DecodesToTheSamePixels) {
  Image image{.width = 17, .height = 5};
  for (int i = 0; i < 17 * 5 * 3; ++i) image.rgb.push_back(static_cast<uint8_t>(i * 37));
  const auto png = EncodePng(image);
  ASSERT_TRUE(png.ok()) << png.status();
  const auto again = DecodeImage(*png, ImageLimits{});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->width, 17);
  EXPECT_EQ(again->height, 5);
  EXPECT_EQ(again->rgb, image.rgb);
}

TEST(EncodePng, RefusesAPictureWhoseSizesDisagree) {
  const Image image{.width = 2, .height = 2, .rgb = {1, 2, 3}};
  EXPECT_EQ(EncodePng(image).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(EncodePng(Image{}).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tessera::prompt
