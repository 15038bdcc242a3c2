#include "worker/model/layer_split.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/model/memory_plan.h"

namespace tessera::model {
namespace {

using testing::ElementsAre;

ModelConfig WithLayers(int64_t layers) {
  ModelConfig config;
  config.language.num_hidden_layers = layers;
  return config;
}

TEST(LayerSplit, RangesFollowEachOtherAndDifferByOneAtMost) {
  for (int64_t layers = 1; layers <= 30; ++layers) {
    for (int64_t stages = 1; stages <= layers; ++stages) {
      const auto ranges = SplitLayers(WithLayers(layers), stages);
      ASSERT_TRUE(ranges.ok());
      ASSERT_EQ(static_cast<int64_t>(ranges->size()), stages);
      int64_t next = 0;
      for (const LayerRange& range : *ranges) {
        EXPECT_EQ(range.first, next);
        EXPECT_GE(range.num, layers / stages);
        EXPECT_LE(range.num, (layers + stages - 1) / stages);
        next += range.num;
      }
      EXPECT_EQ(next, layers);
    }
  }
  EXPECT_THAT(*SplitLayers(WithLayers(30), 4), ElementsAre(LayerRange{0, 7}, LayerRange{7, 8},
                                                           LayerRange{15, 7}, LayerRange{22, 8}));
}

TEST(LayerSplit, RefusesStagesThatCannotBe) {
  for (const int64_t stages : {-1, 0, 13}) {
    EXPECT_EQ(SplitLayers(WithLayers(12), stages).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(LayerSplit, ThePlannerSplitsAlike) {
  const auto config = ReadModelConfig(TESSERA_FIXTURES "/configs/vl2_base");
  ASSERT_TRUE(config.ok());
  const auto plan = PlanTopology(*config, {4, 1}, {});
  const auto ranges = SplitLayers(*config, 4);
  ASSERT_TRUE(plan.ok() && ranges.ok());
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ((*ranges)[i], (LayerRange{plan->stages[i].first_layer, plan->stages[i].num_layers}));
  }
}

}  // namespace
}  // namespace tessera::model
