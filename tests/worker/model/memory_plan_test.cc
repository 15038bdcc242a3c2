// Against figures computed by hand from the published dimensions.
#include "worker/model/memory_plan.h"

#include <string>

#include "gtest/gtest.h"

namespace tessera::model {
namespace {

ModelConfig Config(const std::string& name) {
  auto config = ReadModelConfig(TESSERA_FIXTURES "/configs/" + name);
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? *config : ModelConfig{};
}

TEST(MemoryPlan, CountsTheParametersOfTiny) {
  const ModelConfig config = Config("vl2_tiny");
  const ModelSize size = CountParameters(config);
  EXPECT_EQ(size.embeddings.parameters(), 129280 * 1280);
  EXPECT_EQ(size.lm_head.parameters(), 129280 * 1280);
  EXPECT_EQ(size.attention.parameters(), 12 * 4 * 1280 * 1280);
  EXPECT_EQ(size.dense_mlp.parameters(), 3 * 1280 * 6848);
  EXPECT_EQ(size.routed_experts.parameters(), int64_t{11} * 64 * 3 * 1280 * 896);
  EXPECT_EQ(size.shared_experts.parameters(), 11 * 2 * 3 * 1280 * 896);
  EXPECT_EQ(size.router.parameters(), 11 * 64 * 1280);
  EXPECT_EQ(size.norms.parameters(), 25 * 1280);
  EXPECT_EQ(size.projector.parameters(), 4608 * 1280 + 1280 + 1280 * 1280 + 1280 + 2 * 1280);
  // SigLIP-SO400M with its attention pool: 428.2 M, as published.
  EXPECT_NEAR(static_cast<double>(size.vision.parameters() + size.vision_unused.parameters()),
              428.2e6, 0.1e6);
  EXPECT_NEAR(static_cast<double>(size.parameters()), 3370.5e6, 0.1e6);
  EXPECT_NEAR(static_cast<double>(CheckpointBytes(config, kernels::DType::kBF16)), 6.741e9, 1e6);
  EXPECT_EQ(CheckpointBytes(config, kernels::DType::kF32),
            2 * CheckpointBytes(config, kernels::DType::kBF16));
}

// "16B" and "27B" of the published table.
TEST(MemoryPlan, TotalsOfSmallAndBaseAreThePublishedOnes) {
  EXPECT_NEAR(static_cast<double>(CountParameters(Config("vl2_small")).parameters()), 16.1e9,
              0.1e9);
  EXPECT_NEAR(static_cast<double>(CountParameters(Config("vl2_base")).parameters()), 27.5e9, 0.2e9);
}

TEST(MemoryPlan, KvBytesPerTokenOfThePublishedSizes) {
  const auto bytes = [](const std::string& name) {
    const LanguageConfig language = Config(name).language;
    return KvBytesPerToken(language, kernels::DType::kBF16, language.num_hidden_layers);
  };
  EXPECT_EQ(bytes("vl2_tiny"), 61440);
  EXPECT_EQ(bytes("vl2_small"), 31104);
  EXPECT_EQ(bytes("vl2_base"), 34560);
}

TEST(MemoryPlan, ResidentWeightsLeaveOutTheAttentionPoolAndWidenVectors) {
  const ModelConfig config = Config("vl2_tiny");
  const ModelSize size = CountParameters(config);
  const int64_t vectors = size.vision.vector + size.projector.vector + size.norms.vector;
  EXPECT_EQ(ResidentWeightBytes(config, kernels::DType::kBF16),
            2 * (size.parameters() - size.vision_unused.parameters()) + 2 * vectors +
                2 * size.router.matrix);
}

TEST(MemoryPlan, ActivationsGrowWithTheChunkUpToTheSlices) {
  const LanguageConfig language = Config("vl2_tiny").language;
  const int64_t one = LanguageActivationBytes(language, 1);
  // Per row: residual, norm, branch; q, k, v, attended; the dense MLP's three widths; router; six
  // slots and the shared experts.
  const int64_t values = 3 * 1280 + 4 * 1280 + 3 * 6848 + 64 + 12 + 6 * (3 * 896 + 1280) + 1280;
  EXPECT_EQ(one, values * 4);
  EXPECT_EQ(LanguageActivationBytes(language, 512), 512 * one);
  EXPECT_LT(LanguageActivationBytes(language, 8192), 8192 * one);
  EXPECT_GT(VisionActivationBytes(Config("vl2_tiny"), 10),
            VisionActivationBytes(Config("vl2_tiny"), 2));
}

TEST(MemoryPlan, OneRankHoldsTinyAndItsContext) {
  const ModelConfig config = Config("vl2_tiny");
  PlanOptions options;
  options.memory_bytes = int64_t{40} << 30;
  const auto plan = PlanTopology(config, {1, 1}, options);
  ASSERT_TRUE(plan.ok());
  ASSERT_EQ(plan->stages.size(), 1u);
  const StagePlan& stage = plan->stages[0];
  EXPECT_EQ(stage.num_layers, 12);
  EXPECT_EQ(stage.weight_bytes, ResidentWeightBytes(config, kernels::DType::kBF16));
  EXPECT_EQ(stage.kv_bytes_per_token, 61440);
  EXPECT_EQ(stage.context_tokens, (options.memory_bytes - options.reserve_bytes -
                                   stage.weight_bytes - stage.activation_bytes) /
                                      61440);
  EXPECT_TRUE(plan->fits);
}

// 32 GB of bf16 weights on a 40 GB device.
TEST(MemoryPlan, SmallFitsFortyGigabytesAndNotThirty) {
  const ModelConfig config = Config("vl2_small");
  PlanOptions options;
  options.memory_bytes = int64_t{40} << 30;
  EXPECT_TRUE(PlanTopology(config, {1, 1}, options)->fits);
  options.memory_bytes = int64_t{30} << 30;
  const auto alone = PlanTopology(config, {1, 1}, options);
  EXPECT_FALSE(alone->fits);
  EXPECT_EQ(alone->context_tokens_total, 0);
  EXPECT_TRUE(PlanTopology(config, {2, 1}, options)->fits);
  EXPECT_TRUE(PlanTopology(config, {1, 2}, options)->fits);
}

TEST(MemoryPlan, StagesAndExpertRanksShareTheWeights) {
  const ModelConfig config = Config("vl2_base");
  PlanOptions options;
  options.memory_bytes = int64_t{80} << 30;
  const auto staged = PlanTopology(config, {4, 1}, options);
  ASSERT_TRUE(staged.ok());
  int64_t layers = 0;
  int64_t weights = 0;
  int64_t kv = 0;
  for (const StagePlan& stage : staged->stages) {
    EXPECT_EQ(stage.first_layer, layers);
    layers += stage.num_layers;
    weights += stage.weight_bytes;
    kv += stage.kv_bytes_per_token;
  }
  EXPECT_EQ(layers, 30);
  EXPECT_EQ(weights, ResidentWeightBytes(config, kernels::DType::kBF16));
  EXPECT_EQ(kv, 34560);
  const auto split = PlanTopology(config, {1, 4}, options);
  ASSERT_TRUE(split.ok());
  const int64_t routed = CountParameters(config).routed_experts.matrix * 2;
  EXPECT_EQ(split->stages[0].weight_bytes,
            ResidentWeightBytes(config, kernels::DType::kBF16) - routed * 3 / 4);
  EXPECT_EQ(split->context_tokens_total, 4 * split->context_tokens_per_rank);
}

TEST(MemoryPlan, RefusesTopologiesThatCannotBe) {
  const ModelConfig config = Config("vl2_tiny");
  EXPECT_FALSE(PlanTopology(config, {0, 1}, {}).ok());
  EXPECT_FALSE(PlanTopology(config, {13, 1}, {}).ok());
  EXPECT_FALSE(PlanTopology(config, {1, 65}, {}).ok());
  PlanOptions options;
  options.memory_bytes = -1;
  EXPECT_FALSE(PlanTopology(config, {1, 1}, options).ok());
}

}  // namespace
}  // namespace tessera::model
