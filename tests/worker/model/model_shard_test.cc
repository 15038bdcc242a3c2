// A model cut into shards gives the same logits to the bit as the whole: by layers, by experts,
// with experts that come and go.
#include "worker/model/model_shard.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/kernels.h"
#include "kernels/thread_pool.h"
#include "services/cli/check/golden_files.h"
#include "tests/worker/model/batch_runner.h"
#include "tests/worker/model/staged_model.h"
#include "tests/worker/model/test_dispatch.h"
#include "worker/model/layer_split.h"
#include "worker/model/model.h"

namespace tessera::model {
namespace {

using testing::ElementsAre;

constexpr int64_t kDecodeSteps = 2;
constexpr int64_t kMaxTokens = 96;
const char kModels[] = TESSERA_FIXTURES "/golden/models/";

using Param = std::tuple<std::string, kernels::Compute>;      // model, compute
using Logits = std::vector<std::vector<std::vector<float>>>;  // [sequence][step][vocab]

class ModelShards : public testing::TestWithParam<Param> {
 protected:
  void SetUp() override {
    options_.table = kernels::BestCpuKernels();
    options_.compute = std::get<1>(GetParam());
    options_.pool = &pools_[0];
    auto model = VlModel::Load(folder(), options_);
    ASSERT_TRUE(model.ok()) << model.status();
    whole_ = *std::move(model);
    MakePrompts();
    truth_ = Run(*whole_, prompts_, kMaxTokens);
  }

  std::string folder() const { return kModels + std::get<0>(GetParam()); }
  const LanguageConfig& language() const { return whole_->config().language; }
  bool has_experts() const { return language().n_routed_experts.has_value(); }

  void MakePrompts() {
    std::mt19937 random(11);
    const int64_t hidden = language().hidden_size;
    image_rows_.resize(static_cast<size_t>(20 * hidden));
    for (float& value : image_rows_)
      value = static_cast<float>(static_cast<int>(random() % 2001) - 1000) * 1e-3f;
    for (const int64_t length : {37, 1, 64}) {
      check::Prompt prompt;
      for (int64_t i = 0; i < length; ++i) {
        prompt.ids.push_back(
            static_cast<int32_t>(random() % static_cast<uint64_t>(language().vocab_size)));
      }
      if (length > 40) prompt.images.push_back({5, {image_rows_.data(), 20, hidden, hidden}});
      prompts_.push_back(std::move(prompt));
    }
  }

  // All sequences together; each step takes at most `chunk` of a sequence's tokens, so that some
  // decode while others prefill. At least min_steps steps, the last ones without sequences.
  static Logits Run(VlModel& model, const std::vector<check::Prompt>& prompts, int64_t chunk,
                    int min_steps = 0) {
    Logits logits(prompts.size());
    BatchRunner runner(model, prompts, kMaxTokens, 16);
    for (int step = 0;; ++step) {
      std::vector<std::pair<int, int64_t>> parts;
      for (int s = 0; s < static_cast<int>(prompts.size()); ++s) {
        if (runner.remaining(s) > 0) parts.emplace_back(s, std::min(chunk, runner.remaining(s)));
      }
      if (parts.empty() && step >= min_steps) return logits;
      const absl::Status status = runner.Step(parts);
      EXPECT_TRUE(status.ok()) << status;
      for (const auto& [s, rows] : parts) {
        if (runner.remaining(s) > 0) continue;
        logits[s].push_back(runner.logits(s));
        if (static_cast<int64_t>(logits[s].size()) <= kDecodeSteps)
          runner.Append(s, check::ArgMax(runner.logits(s)));
      }
    }
  }

  static void ExpectSameBytes(const Logits& found, const Logits& truth, const std::string& what) {
    ASSERT_EQ(found.size(), truth.size());
    for (size_t s = 0; s < truth.size(); ++s) {
      ASSERT_EQ(found[s].size(), truth[s].size()) << what << ", sequence " << s;
      for (size_t i = 0; i < truth[s].size(); ++i) {
        EXPECT_EQ(
            std::memcmp(found[s][i].data(), truth[s][i].data(), truth[s][i].size() * sizeof(float)),
            0)
            << what << ", sequence " << s << ", step " << i;
      }
    }
  }

  std::unique_ptr<ModelShard> Load(const ShardSpec& spec, int pool = 0) {
    LoadOptions options = options_;
    options.pool = &pools_[pool];
    auto shard = ModelShard::Load(folder(), options, spec);
    EXPECT_TRUE(shard.ok()) << shard.status();
    return *std::move(shard);
  }

  // experts: of each stage; empty: all.
  std::unique_ptr<StagedModel> LoadStages(int64_t stages, const std::vector<int32_t>& experts = {},
                                          int pool = 0) {
    std::vector<std::unique_ptr<ModelShard>> shards;
    const std::vector<LayerRange> ranges = *SplitLayers(whole_->config(), stages);
    for (const LayerRange& range : ranges)
      shards.push_back(Load({range.first, range.num, experts, range.first == 0}, pool));
    return std::make_unique<StagedModel>(std::move(shards));
  }

  std::vector<int32_t> ExpertsFrom(int32_t first, int32_t step) const {
    std::vector<int32_t> experts;
    for (int32_t e = first; e < language().n_routed_experts.value_or(0); e += step)
      experts.push_back(e);
    return experts;
  }

  kernels::ThreadPool pools_[2]{kernels::ThreadPool(2), kernels::ThreadPool(1)};
  LoadOptions options_;
  std::unique_ptr<VlModel> whole_;
  std::vector<float> image_rows_;
  std::vector<check::Prompt> prompts_;
  Logits truth_;
};

TEST_P(ModelShards, StagesOfLayersGiveTheWholeModelsLogits) {
  for (const int64_t stages : {1, 2, 3}) {
    if (stages > language().num_hidden_layers) continue;
    const auto staged = LoadStages(stages);
    EXPECT_EQ(staged->weight_bytes(), whole_->weight_bytes());
    for (const int64_t chunk : {kMaxTokens, int64_t{7}}) {
      ExpectSameBytes(Run(*staged, prompts_, chunk), truth_,
                      std::to_string(stages) + " stages, chunks of " + std::to_string(chunk));
    }
  }
}

// Shared experts in GEMM calls of their own, and every exchange called for.
TEST_P(ModelShards, ACollectiveDispatchGivesTheSameLogits) {
  if (!has_experts()) GTEST_SKIP() << "no experts";
  const auto staged = LoadStages(1);
  CollectiveOfOne dispatch(options_.table, *language().n_routed_experts);
  staged->stage(0).SetExpertDispatch(&dispatch);
  for (const int64_t chunk : {kMaxTokens, int64_t{5}}) {
    ExpectSameBytes(Run(*staged, prompts_, chunk), truth_, "collective");
  }

  std::vector<std::string> one_step;
  for (int64_t layer = 0; layer < language().num_hidden_layers; ++layer) {
    if (!language().IsMoeLayer(layer)) continue;
    for (const std::string& call :
         {"start " + std::to_string(layer), std::string("wait"), std::string("combine")})
      one_step.push_back(call);
  }
  BatchRunner runner(*staged, prompts_, kMaxTokens, 16);
  dispatch.calls.clear();
  ASSERT_TRUE(runner.Step({}).ok());  // no rows at all
  EXPECT_EQ(dispatch.calls, one_step);
  dispatch.calls.clear();
  ASSERT_TRUE(runner.Step({{0, 3}}).ok());  // rows, but none that logits are asked of
  EXPECT_EQ(dispatch.calls, one_step);
}

// Two columns of two stages: each rank holds every other expert and computes the other's rows too.
// The columns have different requests, and one is done while the other still works.
TEST_P(ModelShards, ExpertsOnTwoRanksGiveTheSameLogits) {
  if (!has_experts()) GTEST_SKIP() << "no experts";
  constexpr int64_t kChunk = 9;
  constexpr int kSteps = 12;  // more than either column needs
  const int64_t stages = std::min<int64_t>(2, language().num_hidden_layers);
  std::vector<std::unique_ptr<PairExchange>> exchanges;
  for (int64_t i = 0; i < stages; ++i)
    exchanges.push_back(std::make_unique<PairExchange>(options_.table));
  std::unique_ptr<StagedModel> columns[2];
  std::vector<check::Prompt> prompts[2] = {{prompts_[0], prompts_[1]}, {prompts_[2]}};
  for (int column = 0; column < 2; ++column) {
    columns[column] = LoadStages(stages, ExpertsFrom(column, 2), column);
    for (int64_t i = 0; i < stages; ++i)
      exchanges[i]->rank(column).Serve(columns[column]->stage(static_cast<size_t>(i)));
  }
  Logits found[2];
  std::thread other([&] { found[1] = Run(*columns[1], prompts[1], kChunk, kSteps); });
  found[0] = Run(*columns[0], prompts[0], kChunk, kSteps);
  other.join();
  ExpectSameBytes(found[0], {truth_[0], truth_[1]}, "column 0");
  ExpectSameBytes(found[1], {truth_[2]}, "column 1");
}

TEST_P(ModelShards, ExpertsComeAndGo) {
  if (!has_experts()) GTEST_SKIP() << "no experts";
  const auto staged = LoadStages(1);
  ModelShard& shard = staged->stage(0);
  const auto is_moe = [&](int64_t layer) { return language().IsMoeLayer(layer); };
  const int64_t layers = language().num_hidden_layers;
  for (int64_t layer = 0; layer < layers; ++layer) {
    for (const int32_t expert : ExpertsFrom(1, 2)) {
      EXPECT_EQ(shard.DropExpert(layer, expert).code(),
                is_moe(layer) ? absl::StatusCode::kOk : absl::StatusCode::kNotFound);
    }
    EXPECT_THAT(std::vector<int32_t>(shard.experts(layer).begin(), shard.experts(layer).end()),
                is_moe(layer) ? ExpertsFrom(0, 2) : std::vector<int32_t>());
  }
  EXPECT_EQ(shard.weight_bytes(), Load({0, -1, ExpertsFrom(0, 2), true})->weight_bytes());
  BatchRunner runner(*staged, prompts_, kMaxTokens, 16);
  EXPECT_EQ(runner.Step({{0, 3}}).code(), absl::StatusCode::kFailedPrecondition);

  // Back into their old places here, into places of their own in a shard that began without them.
  const auto later = std::make_unique<StagedModel>([&] {
    std::vector<std::unique_ptr<ModelShard>> shards;
    shards.push_back(Load({0, -1, ExpertsFrom(0, 2), true}));
    return shards;
  }());
  for (StagedModel* model : {staged.get(), later.get()}) {
    ModelShard& filled = model->stage(0);
    for (int64_t layer = 0; layer < layers; ++layer) {
      if (!is_moe(layer)) continue;
      for (const int32_t expert : ExpertsFrom(0, 1)) {
        const absl::Status status = filled.LoadExpert(layer, expert);
        EXPECT_TRUE(status.ok()) << status;
      }
    }
    EXPECT_EQ(filled.weight_bytes(), whole_->weight_bytes());
    ExpectSameBytes(Run(*model, prompts_, 16), truth_, "filled up");
  }
}

INSTANTIATE_TEST_SUITE_P(Models, ModelShards,
                         testing::Combine(testing::ValuesIn(check::ListFolder(kModels)),
                                          testing::Values(kernels::Compute::kF32,
                                                          kernels::Compute::kBF16)),
                         [](const testing::TestParamInfo<Param>& info) {
                           return std::get<0>(info.param) +
                                  (std::get<1>(info.param) == kernels::Compute::kF32 ? "_f32"
                                                                                     : "_bf16");
                         });

}  // namespace
}  // namespace tessera::model
