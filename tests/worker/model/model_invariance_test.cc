// The same sequence gives the same logits to the bit: alone or in a batch, in any chunks, with any
// block size, on any number of threads.
#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/kernels.h"
#include "kernels/thread_pool.h"
#include "tests/worker/model/batch_runner.h"
#include "worker/model/model.h"

namespace tessera::model {
namespace {

constexpr int64_t kDecodeSteps = 3;
constexpr int64_t kMaxTokens = 160;

using Param = std::tuple<std::string, std::string, kernels::Compute>;  // table, model, compute

class ModelInvariance : public testing::TestWithParam<Param> {
 protected:
  void SetUp() override {
    Load(2);
    MakePrompts();
    truth_ = RunAlone(*model_, 16);
  }

  void Load(int threads) {
    model_.reset();
    pool_ = std::make_unique<kernels::ThreadPool>(threads);
    LoadOptions options;
    options.table = kernels::KernelsByName(std::get<0>(GetParam()));
    options.compute = std::get<2>(GetParam());
    options.pool = pool_.get();
    auto model = VlModel::Load(
        std::string(TESSERA_FIXTURES "/golden/models/") + std::get<1>(GetParam()), options);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
  }

  // Random ids, and random rows where images would stand: the language model does not know the
  // difference.
  void MakePrompts() {
    std::mt19937 random(7);
    const int64_t vocab = model_->config().language.vocab_size;
    const int64_t hidden = model_->config().language.hidden_size;
    image_rows_.resize(static_cast<size_t>(40 * hidden));
    for (float& value : image_rows_)
      value = static_cast<float>(static_cast<int>(random() % 2001) - 1000) * 1e-3f;
    for (const int64_t length : {67, 1, 131}) {
      check::Prompt prompt;
      for (int64_t i = 0; i < length; ++i)
        prompt.ids.push_back(static_cast<int32_t>(random() % static_cast<uint64_t>(vocab)));
      if (length > 60) prompt.images.push_back({11, {image_rows_.data(), 40, hidden, hidden}});
      prompts_.push_back(std::move(prompt));
    }
  }

  using Logits = std::vector<std::vector<std::vector<float>>>;  // [sequence][step][vocab]

  Logits RunAlone(VlModel& model, int64_t block_size) {
    Logits logits(prompts_.size());
    for (size_t s = 0; s < prompts_.size(); ++s) {
      const std::vector<check::Prompt> one = {prompts_[s]};
      BatchRunner runner(model, one, kMaxTokens, block_size);
      EXPECT_TRUE(runner.Step({{0, runner.remaining(0)}}).ok());
      logits[s].push_back(runner.logits(0));
      for (int64_t i = 0; i < kDecodeSteps; ++i) {
        runner.Append(0, check::ArgMax(runner.logits(0)));
        EXPECT_TRUE(runner.Step({{0, 1}}).ok());
        logits[s].push_back(runner.logits(0));
      }
    }
    return logits;
  }

  // All sequences together; each step takes at most `chunk` of a sequence's tokens, so that some
  // decode while others prefill.
  Logits RunTogether(VlModel& model, int64_t chunk, bool reversed) {
    Logits logits(prompts_.size());
    BatchRunner runner(model, prompts_, kMaxTokens, 16);
    for (;;) {
      std::vector<std::pair<int, int64_t>> parts;
      for (int s = 0; s < static_cast<int>(prompts_.size()); ++s) {
        if (runner.remaining(s) > 0) parts.emplace_back(s, std::min(chunk, runner.remaining(s)));
      }
      if (parts.empty()) return logits;
      if (reversed) std::reverse(parts.begin(), parts.end());
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

  void ExpectSameBytes(const Logits& found, const std::string& what) {
    ASSERT_EQ(found.size(), truth_.size());
    for (size_t s = 0; s < truth_.size(); ++s) {
      ASSERT_EQ(found[s].size(), truth_[s].size()) << what << ", sequence " << s;
      for (size_t i = 0; i < truth_[s].size(); ++i) {
        EXPECT_EQ(std::memcmp(found[s][i].data(), truth_[s][i].data(),
                              truth_[s][i].size() * sizeof(float)),
                  0)
            << what << ", sequence " << s << ", step " << i;
      }
    }
  }

  std::unique_ptr<kernels::ThreadPool> pool_;
  std::unique_ptr<VlModel> model_;
  std::vector<float> image_rows_;
  std::vector<check::Prompt> prompts_;
  Logits truth_;
};

TEST_P(ModelInvariance, LogitsDoNotDependOnBatchOrChunks) {
  ExpectSameBytes(RunTogether(*model_, kMaxTokens, false), "in one batch");
  for (const int64_t chunk : {1, 7, 16, 50}) {
    ExpectSameBytes(RunTogether(*model_, chunk, chunk % 2 == 0),
                    "in chunks of " + std::to_string(chunk));
  }
}

TEST_P(ModelInvariance, LogitsDoNotDependOnTheBlockSize) {
  for (const int64_t block : {1, 4, 32, 128}) {
    ExpectSameBytes(RunAlone(*model_, block), "with blocks of " + std::to_string(block));
  }
}

TEST_P(ModelInvariance, LogitsDoNotDependOnTheNumberOfThreads) {
  for (const int threads : {1, 3}) {
    Load(threads);
    ExpectSameBytes(RunAlone(*model_, 16), "on " + std::to_string(threads) + " threads");
    ExpectSameBytes(RunTogether(*model_, 16, false),
                    "together on " + std::to_string(threads) + " threads");
  }
}

// Without a probe the last layer drops rows that nothing is read from.
TEST_P(ModelInvariance, LogitsDoNotDependOnAProbe) {
  ForwardProbe probe;
  for (size_t s = 0; s < prompts_.size(); ++s) {
    const std::vector<check::Prompt> one = {prompts_[s]};
    BatchRunner runner(*model_, one, kMaxTokens, 16);
    ASSERT_TRUE(runner.Step({{0, runner.remaining(0)}}, &probe).ok());
    EXPECT_EQ(runner.logits(0), truth_[s][0]) << "sequence " << s;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, ModelInvariance,
                         testing::Combine(testing::ValuesIn(kernels::RunnableKernelNames()),
                                          testing::Values("tiny_mha", "tied_gqa", "base_noaux",
                                                          "qlora_bias_p16", "yarn_f32"),
                                          testing::Values(kernels::Compute::kF32,
                                                          kernels::Compute::kBF16)),
                         [](const testing::TestParamInfo<Param>& info) {
                           return std::get<0>(info.param) + "_" + std::get<1>(info.param) +
                                  (std::get<2>(info.param) == kernels::Compute::kF32 ? "_f32"
                                                                                     : "_bf16");
                         });

}  // namespace
}  // namespace tessera::model
