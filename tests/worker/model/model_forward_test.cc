// What Forward and EncodeImage refuse, and what a poisoned sequence does to its neighbours.
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/kernels.h"
#include "kernels/thread_pool.h"
#include "tests/worker/model/batch_runner.h"
#include "worker/model/model.h"

namespace tessera::model {
namespace {

using testing::HasSubstr;

class ModelForward : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    LoadOptions options;
    options.table = kernels::KernelsByName(GetParam());
    options.pool = &pool_;
    options.compute = kernels::Compute::kF32;
    options.progress = [&](int64_t loaded, int64_t total) {
      EXPECT_LE(loaded, total);
      progress_.push_back(loaded);
    };
    auto model = VlModel::Load(TESSERA_FIXTURES "/golden/models/base_noaux", options);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
    pages_ = std::make_unique<check::KvPages>(model_->kv_layout(), 4, 16);
    logits_.resize(static_cast<size_t>(vocab()));
  }

  int64_t vocab() const { return model_->config().language.vocab_size; }

  absl::Status Forward(const StepSequence& sequence) {
    return model_->Forward(absl::MakeConstSpan(&sequence, 1), pages_->layers(),
                           {logits_.data(), 1, vocab(), vocab()});
  }

  void ExpectRefused(const StepSequence& sequence, const std::string& words) {
    const absl::Status status = Forward(sequence);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(words));
  }

  StepSequence Good() {
    StepSequence sequence;
    sequence.token_ids = ids_;
    sequence.block_table = blocks_;
    sequence.wants_logits = true;
    return sequence;
  }

  kernels::ThreadPool pool_{2};
  std::unique_ptr<VlModel> model_;
  std::unique_ptr<check::KvPages> pages_;
  std::vector<float> logits_;
  std::vector<int64_t> progress_;
  std::vector<int32_t> ids_ = {0, 5, 9};
  std::vector<int32_t> blocks_ = {3};
};

TEST_P(ModelForward, ReportsProgressUpToTheEnd) {
  ASSERT_FALSE(progress_.empty());
  EXPECT_TRUE(std::is_sorted(progress_.begin(), progress_.end()));
}

TEST_P(ModelForward, RunsAGoodStep) {
  EXPECT_TRUE(Forward(Good()).ok());
  EXPECT_TRUE(model_->Forward({}, pages_->layers(), {}).ok());
}

TEST_P(ModelForward, RefusesBadIdsPositionsAndBlocks) {
  StepSequence sequence = Good();
  const std::vector<int32_t> too_large = {1, static_cast<int32_t>(vocab())};
  sequence.token_ids = too_large;
  ExpectRefused(sequence, "token id 2112; must be in 0..2111");
  const std::vector<int32_t> negative = {-1};
  sequence.token_ids = negative;
  ExpectRefused(sequence, "token id -1");
  sequence = Good();
  sequence.token_ids = {};
  ExpectRefused(sequence, "no token");
  sequence = Good();
  sequence.first_position = model_->config().language.max_position_embeddings - 2;
  ExpectRefused(sequence, "max_position_embeddings (4096)");
  sequence.first_position = -1;
  ExpectRefused(sequence, "positions -1");
  sequence.first_position = 14;
  ExpectRefused(sequence, "its positions need 2");
  sequence = Good();
  const std::vector<int32_t> outside = {4};
  sequence.block_table = outside;
  ExpectRefused(sequence, "block id 4; must be in 0..3");
}

TEST_P(ModelForward, RefusesImagesThatLeaveTheChunk) {
  const int64_t hidden = model_->config().language.hidden_size;
  std::vector<float> rows(static_cast<size_t>(4 * hidden));
  StepSequence sequence = Good();
  sequence.images = {{1, {rows.data(), 3, hidden, hidden}}};
  ExpectRefused(sequence, "leave the chunk");
  sequence.images = {{0, {rows.data(), 2, hidden, hidden}}, {1, {rows.data(), 1, hidden, hidden}}};
  ExpectRefused(sequence, "overlap");
  sequence.images = {{0, {rows.data(), 1, hidden - 1, hidden}}};
  ExpectRefused(sequence, "must be 80");
}

TEST_P(ModelForward, RefusesPagesOfAnotherShape) {
  const StepSequence sequence = Good();
  EXPECT_EQ(model_
                ->Forward(absl::MakeConstSpan(&sequence, 1), pages_->layers().subspan(1),
                          {logits_.data(), 1, vocab(), vocab()})
                .code(),
            absl::StatusCode::kInvalidArgument);
  std::vector<kernels::PagedKv> layers(pages_->layers().begin(), pages_->layers().end());
  layers[1].dtype = kernels::DType::kBF16;
  EXPECT_EQ(model_
                ->Forward(absl::MakeConstSpan(&sequence, 1), layers,
                          {logits_.data(), 1, vocab(), vocab()})
                .code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(model_
                ->Forward(absl::MakeConstSpan(&sequence, 1), pages_->layers(),
                          {logits_.data(), 0, vocab(), vocab()})
                .code(),
            absl::StatusCode::kInvalidArgument);
}

// A value that is not finite fails the sequence by its index, and nobody else's logits change.
TEST_P(ModelForward, NamesThePoisonedSequence) {
  const int64_t hidden = model_->config().language.hidden_size;
  for (const float poison :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> rows(static_cast<size_t>(hidden), poison);
    std::vector<check::Prompt> prompts(3);
    prompts[0].ids = {0, 5, 9, 11};
    prompts[1].ids = {0, 7};
    prompts[1].images.push_back({1, {rows.data(), 1, hidden, hidden}});
    prompts[2].ids = {3};
    BatchRunner together(*model_, prompts, 32, 16);
    const absl::Status status = together.Step({{0, 4}, {1, 2}, {2, 1}});
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("sequence 1: a logit is not finite"));
    EXPECT_EQ(status.GetPayload(kSequenceIndexPayload), absl::Cord("1"));
    for (const int s : {0, 2}) {
      const std::vector<check::Prompt> one = {prompts[s]};
      BatchRunner alone(*model_, one, 32, 16);
      ASSERT_TRUE(alone.Step({{0, alone.remaining(0)}}).ok());
      EXPECT_EQ(alone.logits(0), together.logits(s)) << "sequence " << s;
    }
  }
}

TEST_P(ModelForward, EncodesOnlyImagesThatAgreeWithTheirGrid) {
  const int64_t side = model_->config().vision.image_size;
  const int64_t hidden = model_->config().language.hidden_size;
  EXPECT_EQ(model_->NumImageTokens(1, 1), 421);  // golden README, point 20: 210 + 1 + 14 * 15
  EXPECT_EQ(model_->NumImageTokens(2, 1), 617);
  std::vector<uint8_t> pixels(static_cast<size_t>(2 * 3 * side * side), 127);
  std::vector<float> features(static_cast<size_t>(421 * hidden));
  const kernels::Mat out{features.data(), 421, hidden, hidden};
  EXPECT_TRUE(model_->EncodeImage({pixels, 2, 1, 1}, out).ok());
  for (const ImageTiles& bad :
       {ImageTiles{pixels, 2, 2, 1}, ImageTiles{pixels, 3, 2, 1}, ImageTiles{pixels, 2, 0, 1},
        ImageTiles{pixels, 2, 1, -1}, ImageTiles{absl::MakeConstSpan(pixels).subspan(1), 2, 1, 1},
        ImageTiles{pixels, int64_t{1} << 62, int64_t{1} << 31, int64_t{1} << 31}}) {
    EXPECT_EQ(model_->EncodeImage(bad, out).code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(model_->EncodeImage({pixels, 2, 1, 1}, out.row_range(0, 420)).code(),
            absl::StatusCode::kInvalidArgument);
}

INSTANTIATE_TEST_SUITE_P(Tables, ModelForward, testing::ValuesIn(kernels::RunnableKernelNames()),
                         [](const testing::TestParamInfo<std::string>& info) {
                           return info.param;
                         });

}  // namespace
}  // namespace tessera::model
