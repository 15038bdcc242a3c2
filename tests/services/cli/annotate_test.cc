#include "services/cli/annotate.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <set>
#include <sstream>

#include "services/cli/annotate_font.h"

namespace tessera::cli {
namespace {

namespace fs = std::filesystem;
using prompt::Image;
using Color = std::array<uint8_t, 3>;

constexpr Color kGray = {90, 90, 90};

Image Gray(int64_t width, int64_t height) {
  return {.width = width,
          .height = height,
          .rgb = std::vector<uint8_t>(static_cast<size_t>(width * height * 3), 90)};
}

Color At(const Image& image, int64_t x, int64_t y) {
  const uint8_t* pixel = image.rgb.data() + (y * image.width + x) * 3;
  return {pixel[0], pixel[1], pixel[2]};
}

fs::path OutputDir(const char* test) {
  const fs::path dir = fs::path(testing::TempDir()) / (std::string("annotate_test_") + test);
  fs::remove_all(dir);
  fs::create_directories(dir);
  return dir;
}

Image Read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  auto image = prompt::DecodeImage(bytes.str(), prompt::ImageLimits{});
  EXPECT_TRUE(image.ok()) << image.status();
  return image.ok() ? *std::move(image) : Image{};
}

TEST(Annotate, WritesAPngWithTheRectangleAndTheLabel) {
  const fs::path path = OutputDir("writes") / "out.png";
  ASSERT_TRUE(Annotate(Gray(200, 150), {{"cat", 50, 40, 120, 110}}, path.string()).ok());
  const Image image = Read(path);
  ASSERT_EQ(image.width, 200);
  ASSERT_EQ(image.height, 150);
  const Color color = At(image, 50, 80);
  EXPECT_NE(color, kGray);
  EXPECT_EQ(At(image, 120, 80), color);
  EXPECT_EQ(At(image, 80, 40), color);
  EXPECT_EQ(At(image, 80, 110), color);
  EXPECT_EQ(At(image, 80, 80), kGray) << "the inside stays";
  EXPECT_EQ(At(image, 49, 80), kGray) << "outside stays";
  EXPECT_EQ(At(image, 121, 80), kGray);
  EXPECT_EQ(At(image, 80, 111), kGray);
  // The label's ground lies right above the box, three glyphs of six pixels and a margin wide, nine
  // high.
  EXPECT_EQ(At(image, 50, 31), color);
  EXPECT_EQ(At(image, 68, 39), color);
  EXPECT_EQ(At(image, 69, 35), kGray);
  EXPECT_EQ(At(image, 55, 30), kGray);
  EXPECT_EQ(At(image, 52, 34), (Color{255, 255, 255})) << "the top of the c";
  EXPECT_EQ(std::distance(fs::directory_iterator(path.parent_path()), fs::directory_iterator()), 1)
      << "no temporary file is left";
}

TEST(Annotate, SaysWhyAPathCannotBeWritten) {
  const fs::path dir = OutputDir("fails");
  const absl::Status status = Annotate(Gray(4, 4), {}, (dir / "missing" / "out.png").string());
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << status;
  EXPECT_EQ(Annotate(Image{}, {}, (dir / "out.png").string()).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(fs::is_empty(dir));
}

TEST(DrawBoxes, EqualLabelsShareAColourAndOthersDiffer) {
  std::vector<AnnotatedBox> boxes;
  for (int64_t i = 0; i < 40; ++i) {
    boxes.push_back({std::string(1, static_cast<char>('0' + i)), 10 * i, 50, 10 * i + 8, 90});
  }
  boxes.push_back({"0", 0, 200, 30, 230});
  const Image image = DrawBoxes(Gray(410, 260), boxes);
  std::set<Color> colors;
  for (int64_t i = 0; i < 40; ++i) colors.insert(At(image, 10 * i, 80));
  EXPECT_EQ(colors.size(), 40u);
  EXPECT_EQ(At(image, 0, 220), At(image, 0, 80));
}

TEST(DrawBoxes, IsClippedAtTheBorders) {
  constexpr int64_t kFar = std::numeric_limits<int64_t>::max();
  const Image gray = Gray(60, 50);
  const Image outside = DrawBoxes(gray, {{"", -100, -100, 200, 200}, {"", 100, 100, 120, 120}});
  EXPECT_EQ(outside.rgb, gray.rgb);
  const Image partly = DrawBoxes(gray, {{"", 20, -kFar, kFar, 30}});
  EXPECT_NE(At(partly, 20, 0), kGray);
  EXPECT_NE(At(partly, 59, 30), kGray);
  EXPECT_EQ(At(partly, 59, 10), kGray);
  EXPECT_EQ(DrawBoxes(gray, {{"x", 30, 10, 20, 40}}).rgb, gray.rgb)
      << "inverted boxes are left out";
}

TEST(DrawBoxes, ALabelAtTheBorderStaysOnThePicture) {
  const Image image = DrawBoxes(Gray(100, 80), {{"edge", 95, 0, 99, 79}});
  const Color color = At(image, 95, 40);
  EXPECT_EQ(At(image, 75, 0), color)
      << "moved to the left, and into the box for want of room above";
  EXPECT_EQ(At(image, 74, 0), kGray);
}

TEST(DrawBoxes, OnePixelPictureWorks) {
  const Image image = DrawBoxes(Gray(1, 1), {{"a long label \xE4\xB8\xAD", 0, 0, 0, 0}});
  EXPECT_NE(At(image, 0, 0), kGray);
}

TEST(GlyphsOf, OneGlyphPerCharacter) {
  EXPECT_EQ(GlyphsOf("ab c").size(), 4u);
  const auto mixed = GlyphsOf("a\xE7\x8C\xAB\xF0\x9F\x90\xB1\xFF\n");
  ASSERT_EQ(mixed.size(), 5u);
  for (size_t i = 2; i < mixed.size(); ++i) EXPECT_EQ(mixed[i], mixed[1]) << "the hollow box";
  std::set<Glyph> distinct;
  for (char c = ' '; c <= '~'; ++c) distinct.insert(*GlyphsOf(std::string_view(&c, 1))[0]);
  EXPECT_EQ(distinct.size(), 95u);
}

}  // namespace
}  // namespace tessera::cli
