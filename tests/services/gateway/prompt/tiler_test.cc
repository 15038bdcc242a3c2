#include "services/gateway/prompt/tiler.h"

#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/services/gateway/prompt/image_test_files.h"

namespace tessera::prompt {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

Json Resolutions() { return Json::parse(ReadTestFile(GoldenProcessorDir() / "resolutions.json")); }

TileGeometry Geometry(const std::string& list, int64_t patch_size) {
  TileGeometry geometry;
  for (const auto& [width, height] :
       Resolutions()[list].get<std::vector<std::pair<int64_t, int64_t>>>()) {
    geometry.candidate_resolutions.emplace_back(width, height);
  }
  geometry.image_size = geometry.candidate_resolutions[0].first;
  geometry.patch_size = patch_size;
  return geometry;
}

// The pictures of a case in the order in which its placeholders consume them; `offered` counts
// surplus ones too, which matter for the rule on cropping.
struct CaseImages {
  std::vector<std::string> used;
  size_t offered = 0;
};

CaseImages ImagesOf(const Json& one) {
  CaseImages images;
  std::vector<std::string> all;
  size_t placeholders = 0;
  const auto count = [&](const std::string& text) {
    for (size_t at = text.find("<image>"); at != std::string::npos;
         at = text.find("<image>", at + 1)) {
      ++placeholders;
    }
  };
  const auto add = [&](const Json& names) {
    for (const auto& name : names) all.push_back(name);
  };
  if (one.contains("images")) add(one["images"]);
  if (one.contains("prompt") && one["prompt"].is_string()) count(one["prompt"]);
  if (one.contains("conversation") && one["conversation"].is_array()) {
    for (const auto& message : one["conversation"]) {
      if (message.contains("images")) add(message["images"]);
      count(message.value("content", ""));
    }
  }
  images.offered = all.size();
  all.resize(std::min(all.size(), placeholders));
  images.used = std::move(all);
  return images;
}

bool AllThere(const std::vector<std::string>& names) {
  return std::all_of(names.begin(), names.end(), [](const std::string& name) {
    return fs::exists(GoldenProcessorDir() / "images" / name);
  });
}

// Many cases share a picture.
const Image& Decoded(const std::string& name) {
  static std::map<std::string, Image> decoded;
  const auto [entry, is_new] = decoded.try_emplace(name);
  if (is_new) {
    auto image = DecodeGolden(GoldenProcessorDir() / "images" / name);
    EXPECT_TRUE(image.ok()) << name << ": " << image.status();
    if (image.ok()) entry->second = *std::move(image);
  }
  return entry->second;
}

void ExpectCase(const Json& one, const CaseImages& images) {
  const Json& expected = one["expected"];
  const TileGeometry geometry = Geometry(one["resolutions"], one["patch_size"]);
  ASSERT_EQ(images.used.size(), expected["images_spatial_crop"].size());
  size_t tile_index = 0;
  std::vector<uint8_t> all;
  for (size_t i = 0; i < images.used.size(); ++i) {
    const Image& image = Decoded(images.used[i]);
    const bool cropping = images.offered <= 2;
    const auto tiled = TileImage(geometry, image, cropping);
    ASSERT_TRUE(tiled.ok()) << tiled.status();
    EXPECT_EQ(tiled->grid.across, expected["images_spatial_crop"][i][0].get<int64_t>());
    EXPECT_EQ(tiled->grid.down, expected["images_spatial_crop"][i][1].get<int64_t>());
    EXPECT_EQ(tiled->grid, ChooseGrid(geometry, image.width, image.height, cropping));
    EXPECT_EQ(NumImageTokens(geometry, tiled->grid),
              expected["num_image_tokens"][i].get<int64_t>());
    const size_t tile_bytes = static_cast<size_t>(3 * tiled->side * tiled->side);
    ASSERT_EQ(tiled->tiles.size(), tile_bytes * static_cast<size_t>(tiled->num_tiles()));
    for (int64_t t = 0; t < tiled->num_tiles(); ++t, ++tile_index) {
      EXPECT_EQ(HashOf(tiled->tiles.data() + static_cast<size_t>(t) * tile_bytes, tile_bytes),
                expected["tile_sha256"][tile_index].get<std::string>())
          << images.used[i] << " tile " << t;
    }
    all.insert(all.end(), tiled->tiles.begin(), tiled->tiles.end());
  }
  EXPECT_EQ(tile_index, expected["tile_sha256"].size());
  EXPECT_EQ(HashOf(all.data(), all.size()), expected["tiles_sha256"].get<std::string>());
}

TEST(Tiler, EveryTileOfEveryGoldenCaseIsExact) {
  std::istringstream lines(ReadTestFile(GoldenProcessorDir() / "cases.jsonl"));
  std::string line;
  std::map<std::string, int> compared;
  while (std::getline(lines, line)) {
    const Json one = Json::parse(line);
    const CaseImages images = ImagesOf(one);
    if (images.used.empty() || one["expected"].contains("error") || !AllThere(images.used))
      continue;
    SCOPED_TRACE(one["name"].get<std::string>());
    ExpectCase(one, images);
    ++compared[one["resolutions"].get<std::string>()];
  }
  EXPECT_GE(compared["official"], 50);
  EXPECT_GE(compared["reduced"], 1);
  EXPECT_GE(compared["small112"], 1);
}

Image Filled(int64_t width, int64_t height) {
  return {.width = width,
          .height = height,
          .rgb = std::vector<uint8_t>(static_cast<size_t>(width * height * 3), 200)};
}

TEST(Tiler, AnExtremeAspectRatioIsRefused) {
  const TileGeometry geometry = Geometry("official", 14);
  for (const auto& [width, height] : {std::pair<int64_t, int64_t>{8000, 2}, {2, 8000}}) {
    const auto tiled = TileImage(geometry, Filled(width, height), true);
    ASSERT_EQ(tiled.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(tiled.status().message().find(absl::StrCat(width, " x ", height)),
              std::string_view::npos);
  }
  EXPECT_TRUE(TileImage(geometry, Filled(700, 1), true).ok());
}

TEST(Tiler, OnePixelGivesTwoEqualTiles) {
  const auto tiled = TileImage(Geometry("official", 14), Filled(1, 1), true);
  ASSERT_TRUE(tiled.ok()) << tiled.status();
  EXPECT_EQ(tiled->num_tiles(), 2);
  EXPECT_EQ(tiled->tiles, std::vector<uint8_t>(2 * 3 * 384 * 384, 200));
}

TEST(Tiler, WithoutCroppingTheGridIsOneTile) {
  const TileGeometry geometry = Geometry("official", 14);
  EXPECT_EQ(ChooseGrid(geometry, 1920, 1080, false), (TileGrid{1, 1}));
  EXPECT_EQ(ChooseGrid(geometry, 1920, 1080, true), (TileGrid{4, 2}));
  EXPECT_EQ(NumImageTokens(geometry, TileGrid{1, 1}), 421);
}

TEST(Tiler, HugeSidesDoNotOverflow) {
  const TileGeometry geometry = Geometry("official", 14);
  constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(ChooseGrid(geometry, kHuge, kHuge, true), (TileGrid{3, 3}));
  EXPECT_EQ(ChooseGrid(geometry, kHuge, 1, true), (TileGrid{1, 1}));
  EXPECT_EQ(ChooseGrid(geometry, kHuge, kHuge / 9, true), (TileGrid{9, 1}));
}

TEST(Tiler, AnImageWhoseSizesDisagreeIsRefused) {
  Image image = Filled(4, 4);
  image.rgb.pop_back();
  EXPECT_EQ(TileImage(Geometry("official", 14), image, true).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(TileImage(Geometry("official", 14), Image{}, true).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tessera::prompt
