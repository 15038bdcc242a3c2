// The official processor's golden cases: ids, labels, masks, grids, tile bytes and the display
// string.
#include <gtest/gtest.h>

#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "services/gateway/prompt/chat_template.h"
#include "tests/support/golden_files.h"
#include "tests/support/golden_pictures.h"

namespace tessera::prompt {
namespace {

using nlohmann::json;
using testing::GoldenPath;
using testing::PlainSha256;
using testing::ReadGoldenFile;
using testing::ReadGoldenFileOrGz;

const Tokenizer& GoldenTokenizer(const std::string& name) {
  static auto* tokenizers = new std::map<std::string, std::unique_ptr<Tokenizer>>();
  std::unique_ptr<Tokenizer>& slot = (*tokenizers)[name];
  if (slot == nullptr) {
    const std::string folder = GoldenPath("tokenizers/" + name);
    absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer =
        Tokenizer::Parse(ReadGoldenFileOrGz(folder + "/tokenizer.json"),
                         ReadGoldenFile(folder + "/tokenizer_config.json"));
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    slot = *std::move(tokenizer);
  }
  return *slot;
}

TileGeometry GeometryOf(const json& golden_case, const json& resolutions) {
  TileGeometry geometry;
  geometry.candidate_resolutions = resolutions[golden_case["resolutions"].get<std::string>()]
                                       .get<std::vector<std::pair<int64_t, int64_t>>>();
  geometry.image_size = geometry.candidate_resolutions[0].first;
  geometry.patch_size = golden_case["patch_size"].get<int64_t>();
  geometry.downsample_ratio = 2;
  return geometry;
}

std::vector<std::string> ImageNames(const json& golden_case) {
  std::vector<std::string> names = golden_case.value("images", std::vector<std::string>());
  for (const json& message : golden_case.value("conversation", json::array())) {
    for (const json& name : message.value("images", json::array())) names.push_back(name);
  }
  return names;
}

ReferenceRequest RequestOf(const json& golden_case) {
  ReferenceRequest request;
  for (const json& message : golden_case.value("conversation", json::array())) {
    request.conversation.push_back({message["role"], message["content"]});
  }
  if (golden_case.contains("prompt")) request.prompt = golden_case["prompt"].get<std::string>();
  request.apply_sft_format = golden_case.value("apply_sft_format", false);
  request.system_prompt = golden_case.value("system_prompt", "");
  request.inference_mode = golden_case.value("inference_mode", true);
  return request;
}

template <typename T>
json RunLengths(const std::vector<T>& values) {
  json runs = json::array();
  for (const T value : values) {
    if (!runs.empty() && runs.back()[0] == value) {
      runs.back()[1] = runs.back()[1].get<int64_t>() + 1;
    } else {
      runs.push_back({value, 1});
    }
  }
  return runs;
}

json TrueRuns(const std::vector<bool>& mask) {
  json runs = json::array();
  for (size_t at = 0; at < mask.size(); ++at) {
    if (!mask[at]) continue;
    const size_t start = at;
    while (at < mask.size() && mask[at]) ++at;
    runs.push_back({start, at - start});
  }
  return runs;
}

void ExpectTiles(const json& expected, const ReferencePrompt& prompt) {
  std::vector<std::string> tiles;
  std::string all;
  for (const TiledImage& image : prompt.tiles) {
    const auto bytes = static_cast<size_t>(3 * image.side * image.side);
    ASSERT_EQ(image.tiles.size(), bytes * static_cast<size_t>(image.num_tiles()));
    for (size_t at = 0; at < image.tiles.size(); at += bytes) {
      const std::string tile(reinterpret_cast<const char*>(image.tiles.data()) + at, bytes);
      tiles.push_back(PlainSha256(tile));
      all += tile;
    }
  }
  EXPECT_EQ(tiles.size(), expected["num_tiles"].get<size_t>());
  EXPECT_EQ(json(tiles), expected["tile_sha256"]);
  EXPECT_EQ(PlainSha256(all), expected["tiles_sha256"]);
}

void ExpectPrompt(const json& expected, const ReferencePrompt& prompt) {
  EXPECT_EQ(prompt.sft_format, expected["sft_format"].get<std::string>());
  EXPECT_EQ(RunLengths(prompt.input_ids), expected["input_ids_rle"]);
  EXPECT_EQ(RunLengths(prompt.target_ids), expected["target_ids_rle"]);
  EXPECT_EQ(TrueRuns(prompt.images_seq_mask), expected["images_seq_mask_runs"]);
  EXPECT_EQ(json(prompt.num_image_tokens), expected["num_image_tokens"]);
  json grids = json::array();
  for (const TileGrid& grid : prompt.grids) grids.push_back({grid.across, grid.down});
  if (grids.empty()) grids.push_back({0, 0});
  EXPECT_EQ(grids, expected["images_spatial_crop"]);
  ExpectTiles(expected, prompt);
}

TEST(ProcessorGolden, EveryCase) {
  const json resolutions = testing::ReadGoldenJson(GoldenPath("processor/resolutions.json"));
  std::vector<std::string> skipped;
  size_t compared = 0;
  for (const json& golden_case : testing::ReadGoldenLines(GoldenPath("processor/cases.jsonl"))) {
    const auto name = golden_case["name"].get<std::string>();
    SCOPED_TRACE(name);
    ReferenceRequest request = RequestOf(golden_case);
    bool available = true;
    for (const std::string& image : ImageNames(golden_case)) {
      const Image* picture = testing::GoldenPicture(image);
      available = available && picture != nullptr;
      request.images.push_back(picture);
    }
    if (!available) {
      skipped.push_back(name);
      continue;
    }
    const absl::StatusOr<ReferencePrompt> prompt = PrepareReference(
        GoldenTokenizer(golden_case["tokenizer"]), GeometryOf(golden_case, resolutions), request);
    ++compared;
    if (golden_case["expected"].contains("error")) {
      EXPECT_EQ(prompt.status().code(), absl::StatusCode::kInvalidArgument);
      continue;
    }
    ASSERT_TRUE(prompt.ok()) << prompt.status();
    ExpectPrompt(golden_case["expected"], *prompt);
  }
  std::cout << compared << " cases compared, " << skipped.size()
            << " skipped because their ref_* picture is not here\n";
  EXPECT_GE(compared, 100u);
}

}  // namespace
}  // namespace tessera::prompt
