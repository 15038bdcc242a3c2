// Many threads, random requests, cancels and deadlines over a small KV cache. Build with
// -DTESSERA_SANITIZE=thread to look for races: nothing here needs gRPC.
#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/worker/engine/engine_harness.h"

namespace tessera::engine::testing {
namespace {

struct Tally {
  std::atomic<int> answered{0};
  std::atomic<int> cancelled{0};
  std::atomic<int> expired{0};
  std::atomic<int> failed{0};
  std::atomic<int> refused{0};
};

void CheckEnd(const Outcome& outcome, const GenerationRequest& request, Tally& tally) {
  ASSERT_TRUE(outcome.WaitFinished()) << "stuck";
  ASSERT_EQ(outcome.num_finishes(), 1);
  const std::vector<int32_t> expected = ExpectedAnswer(request);
  const std::vector<int32_t> tokens = outcome.tokens();
  // Whatever came is a true beginning of the answer.
  ASSERT_LE(tokens.size(), expected.size());
  ASSERT_TRUE(std::equal(tokens.begin(), tokens.end(), expected.begin()));
  if (outcome.reason() == FinishReason::kCancelled) {
    ++tally.cancelled;
  } else if (outcome.status().code() == absl::StatusCode::kDeadlineExceeded) {
    ++tally.expired;
  } else if (outcome.status().code() == absl::StatusCode::kInternal) {
    ++tally.failed;
  } else {
    ASSERT_EQ(outcome.status(), absl::OkStatus());
    ASSERT_EQ(tokens, expected);
    ++tally.answered;
  }
}

void SubmitMany(Harness& harness, int thread, int count, Tally& tally) {
  std::mt19937 random(thread);
  std::vector<std::pair<GenerationRequest, std::shared_ptr<Outcome>>> open;
  for (int i = 0; i < count; ++i) {
    GenerationRequest request = RandomRequest(absl::StrCat(thread, ".", i), random);
    if (random() % 10 == 0) request.deadline = harness.clock.Now() + absl::Milliseconds(2);
    auto outcome = std::make_shared<Outcome>();
    if (!harness.engine->Submit(request, std::make_unique<RecordingSink>(outcome)).ok()) {
      ++tally.refused;
      continue;
    }
    open.emplace_back(request, outcome);
    if (random() % 5 == 0) harness.engine->Cancel(open[random() % open.size()].first.id);
    if (random() % 20 == 0) harness.clock.Advance(absl::Milliseconds(1));
    if (open.size() >= 8) {
      ASSERT_NO_FATAL_FAILURE(CheckEnd(*open.front().second, open.front().first, tally));
      open.erase(open.begin());
    }
  }
  for (const auto& [request, outcome] : open) {
    ASSERT_NO_FATAL_FAILURE(CheckEnd(*outcome, request, tally));
  }
}

void Stress(const EngineOptions& options, bool faults) {
  Harness harness(options);
  std::mt19937 random(9);
  if (faults) {
    harness.model.before_forward = [&](absl::Span<const model::StepSequence> sequences) {
      if (random() % 40 != 0) return absl::OkStatus();
      absl::Status status = absl::InternalError("injected");
      status.SetPayload(model::kSequenceIndexPayload,
                        absl::Cord(absl::StrCat(random() % sequences.size())));
      return status;
    };
  }
  harness.engine->Start();
  Tally tally;
  std::atomic<bool> done{false};
  std::thread watcher([&] {
    while (!done) {
      const EngineSnapshot snapshot = harness.engine->Snapshot();
      ASSERT_LE(snapshot.kv_blocks_used + snapshot.kv_blocks_cached, snapshot.kv_blocks_total);
      std::this_thread::yield();
    }
  });
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] { SubmitMany(harness, t, 120, tally); });
  }
  for (std::thread& thread : threads) thread.join();
  done = true;
  watcher.join();
  EXPECT_GT(tally.answered, 100);
  EXPECT_EQ(tally.refused, 0);
  EXPECT_EQ(tally.answered + tally.cancelled + tally.expired + tally.failed, 360);
  if (!faults) {
    EXPECT_EQ(tally.failed, 0);
  }
  ASSERT_EQ(harness.engine->Drain(harness.clock.Now() + absl::Seconds(30)), absl::OkStatus());
  EXPECT_EQ(harness.engine->Snapshot().kv_blocks_used, 0);
  EXPECT_GT(harness.engine->Snapshot().preemptions, 0u);
}

EngineOptions SmallCache() {
  EngineOptions options = OptionsWith(40, 4);
  options.max_batch_sequences = 12;
  options.max_step_tokens = 24;
  options.prefill_chunk_tokens = 9;
  options.embedding_cache_bytes = 200;
  return options;
}

TEST(EngineStress, EveryRequestEndsOnceAndWithTheRightTokens) { Stress(SmallCache(), false); }

TEST(EngineStress, FaultsOfSomeSequencesDoNotTouchOthers) { Stress(SmallCache(), true); }

TEST(EngineStress, WithoutAPrefixCacheToo) {
  EngineOptions options = SmallCache();
  options.prefix_caching = false;
  Stress(options, true);
}

}  // namespace
}  // namespace tessera::engine::testing
