// A handoff between two engines over real models gives the tokens of one engine, and the same log
// probabilities to the bit.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "kernels/kernels.h"
#include "kernels/thread_pool.h"
#include "tests/worker/engine/golden_requests.h"
#include "tests/worker/engine/handoff_harness.h"
#include "worker/engine/engine.h"

namespace tessera::engine::testing {
namespace {

struct Side {
  std::unique_ptr<kernels::ThreadPool> pool;
  std::unique_ptr<model::VlModel> model;
  std::unique_ptr<Engine> engine;
};

Side MakeSide(const std::string& dir, kernels::Compute compute, int64_t block_size, int64_t chunk) {
  Side side;
  side.pool = std::make_unique<kernels::ThreadPool>(1);
  model::LoadOptions load;
  load.compute = compute;
  load.table = kernels::KernelsByName("auto");
  load.pool = side.pool.get();
  absl::StatusOr<std::unique_ptr<model::VlModel>> model = model::VlModel::Load(dir, load);
  EXPECT_TRUE(model.ok()) << model.status();
  side.model = *std::move(model);
  EngineOptions options;
  options.kv_block_size_tokens = block_size;
  options.kv_cache_bytes = int64_t{64} << 20;
  options.prefill_chunk_tokens = chunk;
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create(*side.model, options);
  EXPECT_TRUE(engine.ok()) << engine.status();
  side.engine = *std::move(engine);
  return side;
}

void ExpectSameEvents(const std::vector<TokenEvent>& a, const std::vector<TokenEvent>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].token_id, b[i].token_id);
    ASSERT_EQ(a[i].position, b[i].position);
    ASSERT_EQ(a[i].logprobs.logprob, b[i].logprobs.logprob);
    ASSERT_EQ(a[i].logprobs.top, b[i].logprobs.top);
  }
}

class HandoffGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(HandoffGolden, TokensAndBitsAreThoseOfOneEngine) {
  const std::string dir = absl::StrCat(TESSERA_FIXTURES "/golden/models/", GetParam());
  for (const auto compute : {kernels::Compute::kF32, kernels::Compute::kBF16}) {
    const Side alone = MakeSide(dir, compute, 16, 512);
    const Side prefill = MakeSide(dir, compute, 16, 37);
    const Side decode = MakeSide(dir, compute, 24, 512);
    std::vector<GoldenRequest> cases = ReadGoldenRequests(*alone.model, dir);
    int64_t handed_over = 0;
    for (const bool is_sampled : {false, true}) {
      for (GoldenRequest& one : cases) {
        GenerationRequest request = one.request;
        SCOPED_TRACE(absl::StrCat(request.id.value(), is_sampled ? " sampled" : ""));
        if (is_sampled) {
          request.sampling.temperature = 1.1;
          request.sampling.top_p = 0.95;
          request.sampling.seed = 5;
          request.sampling.repetition_penalty = 1.1;
        }
        const auto expected = SubmitTo(*alone.engine, request);
        RunDry(*alone.engine);
        if (!is_sampled && compute == kernels::Compute::kF32) {
          ASSERT_EQ(expected->tokens(), one.expected);
        }
        // The second time, both sides know most of the prompt.
        for (int round = 0; round < 2; ++round) {
          SCOPED_TRACE(round);
          const Handoff handoff = HandOver(*prefill.engine, *decode.engine, request);
          ASSERT_EQ(handoff.status, absl::OkStatus());
          ASSERT_EQ(handoff.reason, expected->reason());
          ASSERT_NO_FATAL_FAILURE(ExpectSameEvents(handoff.events, expected->events()));
          handed_over += handoff.tokens.size() > 1;
        }
      }
    }
    EXPECT_GT(handed_over, 0);
    EXPECT_GT(prefill.engine->Snapshot().prefix_cache_hit_tokens, 0u);
    EXPECT_GT(decode.engine->Snapshot().prefix_cache_hit_tokens, 0u);
    EXPECT_EQ(decode.engine->Snapshot().prompt_tokens, 0u);
    EXPECT_EQ(decode.engine->Snapshot().kv_blocks_used, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, HandoffGolden,
                         ::testing::Values("tiny_mha", "small_mla", "tied_gqa"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace tessera::engine::testing
