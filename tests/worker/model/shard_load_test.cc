// What a shard loads, refuses and tells while it runs.
#include <cstring>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/kernels.h"
#include "kernels/thread_pool.h"
#include "tests/worker/model/batch_runner.h"
#include "tests/worker/model/test_dispatch.h"
#include "worker/model/layer_split.h"
#include "worker/model/memory_plan.h"
#include "worker/model/model.h"
#include "worker/model/model_shard.h"
#include "worker/model/safetensors.h"

namespace tessera::model {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const char kModel[] = TESSERA_FIXTURES "/golden/models/base_noaux";

class ShardLoad : public testing::Test {
 protected:
  ShardLoad() {
    options_.table = kernels::BestCpuKernels();
    options_.compute = kernels::Compute::kBF16;
    options_.pool = &pool_;
    options_.progress = [this](int64_t, int64_t total) { total_ = total; };
    config_ = *ReadModelConfig(kModel);
  }

  std::unique_ptr<ModelShard> Load(const ShardSpec& spec) {
    auto shard = ModelShard::Load(kModel, options_, spec);
    EXPECT_TRUE(shard.ok()) << shard.status();
    return *std::move(shard);
  }

  void ExpectRefused(const ShardSpec& spec, const std::string& words) {
    const absl::Status status = ModelShard::Load(kModel, options_, spec).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(words));
  }

  int64_t layers() const { return config_.language.num_hidden_layers; }
  int32_t num_experts() const { return static_cast<int32_t>(*config_.language.n_routed_experts); }

  kernels::ThreadPool pool_{2};
  LoadOptions options_;
  ModelConfig config_;
  int64_t total_ = 0;  // of the last load's progress
};

TEST_F(ShardLoad, RefusesASpecOutOfRange) {
  ExpectRefused({layers(), 1, {}, true}, "first_layer is");
  ExpectRefused({-1, 1, {}, true}, "first_layer is -1");
  ExpectRefused({1, layers(), {}, true}, "num_layers is");
  ExpectRefused({0, 0, {}, true}, "num_layers is 0");
  ExpectRefused({0, 1, {num_experts()}, true}, "experts holds");
  ExpectRefused({0, 1, {-1}, true}, "experts holds -1");
  ExpectRefused({0, 1, {2, 1}, true}, "must ascend");
  ExpectRefused({0, 1, {1, 1}, true}, "must ascend");
}

TEST_F(ShardLoad, CountsOnlyWhatItLoads) {
  Load({});
  const int64_t whole = total_;
  // Every tensor but the attention pool's, which nothing asks for. The checkpoint is all bfloat16.
  EXPECT_EQ(whole, CheckpointBytes(config_, kernels::DType::kBF16) -
                       2 * CountParameters(config_).vision_unused.parameters());
  int64_t sum = 0;
  int64_t weights = 0;
  const std::vector<LayerRange> ranges = *SplitLayers(config_, layers());
  for (const LayerRange& range : ranges) {
    weights += Load({range.first, range.num, {}, range.first == 0})->weight_bytes();
    sum += total_;
  }
  EXPECT_EQ(sum, whole);
  EXPECT_EQ(weights, Load({})->weight_bytes());

  Load({0, -1, {0}, true});
  const int64_t one_expert =
      2 * 3 * config_.language.hidden_size * config_.language.moe_intermediate_size;
  int64_t moe_layers = 0;
  for (int64_t layer = 0; layer < layers(); ++layer)
    moe_layers += config_.language.IsMoeLayer(layer);
  EXPECT_EQ(whole - total_, moe_layers * (num_experts() - 1) * one_expert);
}

TEST_F(ShardLoad, ResolvesItsSpec) {
  const auto shard = Load({1, -1, {0, 2}, false});
  EXPECT_EQ(shard->spec().num_layers, layers() - 1);
  EXPECT_EQ(shard->kv_layout().num_layers, layers() - 1);
  EXPECT_FALSE(shard->spec().holds_ends);
  ASSERT_TRUE(config_.language.IsMoeLayer(1));
  EXPECT_THAT(shard->experts(0), ElementsAre(0, 2));
}

TEST_F(ShardLoad, WithoutTheEndsThereAreNoImagesAndNoLogits) {
  const auto shard = Load({0, 1, {}, false});
  EXPECT_EQ(shard->NumImageTokens(1, 1), 421);
  EXPECT_EQ(shard->EncodeImage({}, {}).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(shard->Logits({}, {}, {}).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(ShardLoad, RefusesExpertsThatCannotBe) {
  const auto shard = Load({0, 2, {}, false});
  ASSERT_FALSE(config_.language.IsMoeLayer(0));
  EXPECT_EQ(shard->LoadExpert(0, 0).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(shard->DropExpert(0, 0).code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(shard->experts(0).empty());
  for (const auto& [layer, expert] :
       std::vector<std::pair<int64_t, int32_t>>{{-1, 0}, {2, 0}, {1, -1}, {1, num_experts()}}) {
    EXPECT_EQ(shard->LoadExpert(layer, expert).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(shard->DropExpert(layer, expert).code(), absl::StatusCode::kInvalidArgument);
  }
  const int64_t before = shard->weight_bytes();
  EXPECT_TRUE(shard->LoadExpert(1, 0).ok());  // is here
  EXPECT_TRUE(shard->DropExpert(1, 0).ok());
  EXPECT_TRUE(shard->DropExpert(1, 0).ok());  // is gone
  EXPECT_LT(shard->weight_bytes(), before);
  EXPECT_EQ(shard->experts(1).front(), 1);
}

TEST_F(ShardLoad, RefusesStepsOfAnotherSize) {
  const auto shard = Load({0, 2, {}, true});
  check::KvPages pages(shard->kv_layout(), 4, 16);
  StepBatch batch;
  batch.positions = {0, 1};
  kernels::Mat hidden = shard->Residual(3);
  EXPECT_EQ(shard->RunLayers(batch, nullptr, pages.layers(), &hidden).code(),
            absl::StatusCode::kInvalidArgument);
  hidden = shard->Residual(2);
  EXPECT_EQ(shard->RunLayers(batch, nullptr, pages.layers().subspan(1), &hidden).code(),
            absl::StatusCode::kInvalidArgument);

  CollectiveOfOne dispatch(options_.table, num_experts());
  shard->SetExpertDispatch(&dispatch);
  batch.positions.assign(kMaxCollectiveRows + 1, 0);
  hidden = shard->Residual(batch.rows());
  const absl::Status status = shard->RunLayers(batch, nullptr, pages.layers(), &hidden);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("2049 rows"));
  EXPECT_TRUE(dispatch.calls.empty());
}

// Copies the pages of each layer at the moment it hears of them.
class PageWatcher final : public KvObserver {
 public:
  PageWatcher(absl::Span<const kernels::PagedKv> layers, int64_t bytes)
      : layers_(layers), bytes_(bytes) {}
  void OnKvWritten(int64_t local_layer) override {
    heard.push_back(local_layer);
    copies.push_back(Copy(local_layer));
  }
  std::string Copy(int64_t layer) const {
    return {static_cast<const char*>(layers_[static_cast<size_t>(layer)].data),
            static_cast<size_t>(bytes_)};
  }

  std::vector<int64_t> heard;
  std::vector<std::string> copies;

 private:
  absl::Span<const kernels::PagedKv> layers_;
  int64_t bytes_;
};

TEST_F(ShardLoad, AnObserverHearsOfEachLayerOnceItsPagesAreWritten) {
  auto model = VlModel::Load(kModel, options_);
  ASSERT_TRUE(model.ok());
  check::KvPages pages((*model)->kv_layout(), 2, 16);
  PageWatcher watcher(pages.layers(), 2 * (*model)->kv_layout().BlockBytes(16));
  const std::string empty = watcher.Copy(0);
  (*model)->SetKvObserver(&watcher);
  const std::vector<int32_t> ids = {0, 5, 9};
  const std::vector<int32_t> blocks = {1};
  StepSequence sequence;
  sequence.token_ids = ids;
  sequence.block_table = blocks;
  ASSERT_TRUE((*model)->Forward(absl::MakeConstSpan(&sequence, 1), pages.layers(), {}).ok());
  std::vector<int64_t> order(static_cast<size_t>(layers()));
  std::iota(order.begin(), order.end(), 0);
  EXPECT_EQ(watcher.heard, order);
  for (int64_t layer = 0; layer < layers(); ++layer) {
    EXPECT_NE(watcher.copies[static_cast<size_t>(layer)], empty);
    EXPECT_EQ(watcher.copies[static_cast<size_t>(layer)], watcher.Copy(layer));
  }
  ASSERT_TRUE((*model)->Forward({}, pages.layers(), {}).ok());
  (*model)->SetKvObserver(nullptr);
  sequence.first_position = 3;
  ASSERT_TRUE((*model)->Forward(absl::MakeConstSpan(&sequence, 1), pages.layers(), {}).ok());
  EXPECT_EQ(watcher.heard.size(), order.size());
}

TEST_F(ShardLoad, AnObserverCountsFromTheShardsFirstLayer) {
  const auto shard = Load({1, 2, {}, false});
  check::KvPages pages(shard->kv_layout(), 2, 16);
  PageWatcher watcher(pages.layers(), shard->kv_layout().BlockBytes(16));
  shard->SetKvObserver(&watcher);
  CollectiveOfOne dispatch(options_.table, num_experts());
  shard->SetExpertDispatch(&dispatch);
  StepBatch batch;
  kernels::Mat hidden = shard->Residual(0);
  ASSERT_TRUE(shard->RunLayers(batch, nullptr, pages.layers(), &hidden).ok());
  EXPECT_TRUE(watcher.heard.empty());  // no rows, nothing written
  const std::vector<int32_t> ids = {0};
  const std::vector<int32_t> blocks = {0};
  StepSequence sequence;
  sequence.token_ids = ids;
  sequence.block_table = blocks;
  OutputRows outputs;
  shard->BuildBatch(absl::MakeConstSpan(&sequence, 1), &batch, &outputs);
  hidden = shard->Residual(1);
  std::fill_n(hidden.row(0), hidden.cols, 0.5f);
  ASSERT_TRUE(shard->RunLayers(batch, nullptr, pages.layers(), &hidden).ok());
  EXPECT_THAT(watcher.heard, ElementsAre(0, 1));
}

}  // namespace
}  // namespace tessera::model
