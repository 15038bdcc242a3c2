// The engine over the real model: every golden case at once, in a KV cache too small for all, gives
// the reference's greedy tokens; and whatever the batch, the chunks, the cache and the preemptions
// were, log probabilities are the same to the bit.
#include <algorithm>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "kernels/kernels.h"
#include "kernels/thread_pool.h"
#include "tests/worker/engine/golden_requests.h"
#include "worker/engine/engine.h"

namespace tessera::engine {
namespace {

using testing::GoldenRequest;
using testing::ReadGoldenRequests;

constexpr int64_t kBlockSize = 16;

struct Received {
  std::vector<TokenEvent> events;
  Usage usage;
  std::promise<absl::Status> ended;
};

class Sink final : public EventSink {
 public:
  explicit Sink(std::shared_ptr<Received> received) : received_(std::move(received)) {}
  void OnToken(const TokenEvent& event) override { received_->events.push_back(event); }
  void OnFinish(FinishReason, const absl::Status& status, const Usage& usage) override {
    received_->usage = usage;
    received_->ended.set_value(status);
  }

 private:
  std::shared_ptr<Received> received_;
};

int64_t BlockBytes(const model::VlModel& model) {
  return model.kv_layout().num_layers * model.kv_layout().BlockBytes(kBlockSize);
}

std::vector<std::shared_ptr<Received>> RunAll(Engine& engine,
                                              const std::vector<GoldenRequest>& cases) {
  std::vector<std::shared_ptr<Received>> all;
  for (const GoldenRequest& one : cases) {
    all.push_back(std::make_shared<Received>());
    const absl::Status status = engine.Submit(one.request, std::make_unique<Sink>(all.back()));
    EXPECT_EQ(status, absl::OkStatus());
  }
  for (size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE(cases[i].request.id.value());
    auto ended = all[i]->ended.get_future();
    EXPECT_EQ(ended.wait_for(std::chrono::minutes(5)), std::future_status::ready);
    EXPECT_EQ(ended.get(), absl::OkStatus());
    std::vector<int32_t> tokens;
    for (const TokenEvent& event : all[i]->events) tokens.push_back(event.token_id);
    EXPECT_EQ(tokens, cases[i].expected);
  }
  return all;
}

void ExpectSameBits(const std::vector<std::shared_ptr<Received>>& a,
                    const std::vector<std::shared_ptr<Received>>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i]->events.size(), b[i]->events.size());
    for (size_t k = 0; k < a[i]->events.size(); ++k) {
      ASSERT_EQ(a[i]->events[k].logprobs.logprob, b[i]->events[k].logprobs.logprob);
      ASSERT_EQ(a[i]->events[k].logprobs.top, b[i]->events[k].logprobs.top);
    }
  }
}

class EngineGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(EngineGolden, AllCasesAtOnceGiveTheReferencesTokens) {
  const std::string dir = absl::StrCat(TESSERA_FIXTURES "/golden/models/", GetParam());
  kernels::ThreadPool pool(2);
  model::LoadOptions load;
  load.compute = kernels::Compute::kF32;
  load.table = kernels::KernelsByName("auto");
  load.pool = &pool;
  const auto model = model::VlModel::Load(dir, load);
  ASSERT_TRUE(model.ok()) << model.status();
  const std::vector<GoldenRequest> cases = ReadGoldenRequests(**model, dir);
  int64_t longest = 0;
  for (const GoldenRequest& one : cases)
    longest = std::max(longest, one.request.num_prompt_tokens + 32);
  const int64_t blocks_of_longest = longest / kBlockSize + 1;

  EngineOptions plain;
  plain.kv_block_size_tokens = kBlockSize;
  plain.kv_cache_bytes = 20 * blocks_of_longest * BlockBytes(**model);
  plain.prefix_caching = false;
  plain.max_batch_sequences = 1;  // one after the other
  auto engine = *Engine::Create(**model, plain);
  engine->Start();
  const auto alone = RunAll(*engine, cases);

  EngineOptions crowded;
  crowded.kv_block_size_tokens = kBlockSize;
  // Room for the longest and half of another: the others make way for each other.
  crowded.kv_cache_bytes = (blocks_of_longest + blocks_of_longest / 2) * BlockBytes(**model);
  crowded.max_batch_sequences = 16;
  crowded.max_step_tokens = 128;
  crowded.prefill_chunk_tokens = 101;
  crowded.embedding_cache_bytes = 1 << 20;
  engine = *Engine::Create(**model, crowded);
  engine->Start();
  for (int round = 0; round < 2; ++round) {
    SCOPED_TRACE(round);
    ASSERT_NO_FATAL_FAILURE(ExpectSameBits(alone, RunAll(*engine, cases)));
  }
  ASSERT_EQ(engine->Drain(absl::InfiniteFuture()), absl::OkStatus());
  const EngineSnapshot snapshot = engine->Snapshot();
  EXPECT_EQ(snapshot.kv_blocks_used, 0);
  EXPECT_GT(snapshot.prefix_cache_hit_tokens, 0u);
}

INSTANTIATE_TEST_SUITE_P(Models, EngineGolden,
                         ::testing::Values("tiny_mha", "small_mla", "base_noaux", "noaux_groups",
                                           "group_limited", "qlora_bias_p16", "yarn_f32",
                                           "tied_gqa"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace tessera::engine
