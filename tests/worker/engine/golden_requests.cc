#include "tests/worker/engine/golden_requests.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "services/cli/check/golden_case.h"

namespace tessera::engine::testing {
namespace {

std::vector<PromptImage> Images(const model::VlModel& model, const check::GoldenCase& golden,
                                const std::vector<prompt::TiledImage>& tiles) {
  std::vector<int64_t> free_rows;  // rows of pictures, in order
  for (const auto& run : golden.image_runs) {
    for (int64_t i = 0; i < run[1]; ++i) free_rows.push_back(run[0] + i);
  }
  std::vector<PromptImage> images;
  size_t next = 0;
  for (const prompt::TiledImage& tiled : tiles) {
    PromptImage image;
    image.tiles.assign(tiled.tiles.begin(), tiled.tiles.end());
    image.tiles_across = tiled.grid.across;
    image.tiles_down = tiled.grid.down;
    image.num_tokens = model.NumImageTokens(tiled.grid.across, tiled.grid.down);
    image.first_token = free_rows.at(next);
    next += image.num_tokens;
    image.identity =
        Sha256Fields()
            .Add({reinterpret_cast<const char*>(image.tiles.data()), image.tiles.size()})
            .Finish();
    images.push_back(std::move(image));
  }
  EXPECT_EQ(next, free_rows.size());
  return images;
}

}  // namespace

std::vector<GoldenRequest> ReadGoldenRequests(const model::VlModel& model, const std::string& dir) {
  std::vector<GoldenRequest> cases;
  for (const std::string& name : check::ListCases(dir)) {
    const auto golden = check::ReadCase(dir, name);
    EXPECT_TRUE(golden.ok()) << golden.status();
    const auto tiles = check::ReadTiles(dir, *golden);
    if (absl::IsNotFound(tiles.status())) continue;  // the reference's own pictures are not here
    EXPECT_TRUE(tiles.ok()) << tiles.status();
    GoldenRequest base;
    base.request.token_ids = golden->ids;
    base.request.num_prompt_tokens = static_cast<int64_t>(golden->ids.size());
    base.request.images = Images(model, *golden, *tiles);
    base.request.sampling.num_logprobs = 5;
    base.request.stop_token_ids = {model.config().language.eos_token_id};
    for (const bool ignore_eos : {true, false}) {
      GoldenRequest one = base;
      one.request.id = RequestId(absl::StrCat(name, ignore_eos ? "" : " to eos"));
      one.request.sampling.ignore_eos = ignore_eos;
      one.expected =
          check::Ids(golden->json[ignore_eos ? "greedy_tokens_no_stop" : "generated_until_eos"]);
      one.request.sampling.max_tokens =
          std::max<int64_t>(static_cast<int64_t>(one.expected.size()), 1);
      EXPECT_FALSE(one.expected.empty());
      if (!ignore_eos && one.expected == cases.back().expected) continue;
      cases.push_back(std::move(one));
    }
  }
  return cases;
}

}  // namespace tessera::engine::testing
