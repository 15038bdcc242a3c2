// What a request is answered does not depend on batch, chunks, block size, preemption or cache.
#include <memory>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/worker/engine/engine_harness.h"

namespace tessera::engine::testing {
namespace {

std::vector<GenerationRequest> RandomRequests(int count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<GenerationRequest> requests;
  for (int i = 0; i < count; ++i) requests.push_back(RandomRequest(absl::StrCat("r", i), random));
  return requests;
}

void ExpectAllAnswered(Harness& harness, const std::vector<GenerationRequest>& requests) {
  std::vector<std::shared_ptr<Outcome>> outcomes;
  for (const GenerationRequest& request : requests) {
    outcomes.push_back(harness.Submit(request));
    ASSERT_NE(outcomes.back(), nullptr) << harness.refusal;
  }
  ASSERT_TRUE(harness.RunDry());
  for (size_t i = 0; i < requests.size(); ++i) {
    SCOPED_TRACE(requests[i].id.value());
    ASSERT_EQ(outcomes[i]->num_finishes(), 1);
    ASSERT_EQ(outcomes[i]->status(), absl::OkStatus());
    ASSERT_EQ(outcomes[i]->tokens(), ExpectedAnswer(requests[i]));
  }
  const EngineSnapshot snapshot = harness.engine->Snapshot();
  EXPECT_EQ(snapshot.kv_blocks_used, 0);
  EXPECT_EQ(snapshot.outstanding_tokens, 0);
}

TEST(EngineInvariance, AloneOrInABatchTheTokensAreTheSame) {
  const auto requests = RandomRequests(12, 1);
  for (const int64_t batch : {1, 2, 12}) {
    SCOPED_TRACE(batch);
    EngineOptions options = OptionsWith(400, 4);
    options.max_batch_sequences = batch;
    Harness harness(options);
    ASSERT_NO_FATAL_FAILURE(ExpectAllAnswered(harness, requests));
    EXPECT_LE(harness.model.most_sequences_in_step, batch);
    EXPECT_GT(harness.model.most_sequences_in_step, batch / 2);
  }
}

TEST(EngineInvariance, EveryChunkSizeGivesTheSameTokens) {
  // So chunks begin and end at every offset inside the pictures.
  const auto requests = RandomRequests(6, 2);
  for (int64_t chunk = 1; chunk <= 24; ++chunk) {
    SCOPED_TRACE(chunk);
    EngineOptions options = OptionsWith(400, 4);
    options.prefill_chunk_tokens = chunk;
    options.max_batch_sequences = 6;
    options.max_step_tokens = chunk + 6;
    Harness harness(options);
    ASSERT_NO_FATAL_FAILURE(ExpectAllAnswered(harness, requests));
    EXPECT_LE(harness.model.most_rows_in_step, options.max_step_tokens);
  }
}

TEST(EngineInvariance, EveryBlockSizeGivesTheSameTokens) {
  const auto requests = RandomRequests(8, 3);
  for (const int64_t block_size : {1, 2, 3, 5, 8, 16, 31, 128}) {
    SCOPED_TRACE(block_size);
    Harness harness(OptionsWith(1000 / block_size + 20, block_size));
    ASSERT_NO_FATAL_FAILURE(ExpectAllAnswered(harness, requests));
  }
}

TEST(EngineInvariance, PreemptionLeavesNoTrace) {
  const auto requests = RandomRequests(16, 4);
  int64_t preemptions = 0;
  for (const int64_t num_blocks : {23, 26, 40}) {
    for (const bool prefix_caching : {false, true}) {
      SCOPED_TRACE(absl::StrCat(num_blocks, " ", prefix_caching));
      EngineOptions options = OptionsWith(num_blocks, 4);
      options.prefix_caching = prefix_caching;
      Harness harness(options);
      ASSERT_NO_FATAL_FAILURE(ExpectAllAnswered(harness, requests));
      preemptions += static_cast<int64_t>(harness.engine->Snapshot().preemptions);
    }
  }
  EXPECT_GT(preemptions, 10);
}

TEST(EngineInvariance, ACachedPrefixLeavesNoTrace) {
  const auto requests = RandomRequests(10, 5);
  Harness harness(OptionsWith(2000, 4));
  for (int round = 0; round < 3; ++round) {
    SCOPED_TRACE(round);
    ASSERT_NO_FATAL_FAILURE(ExpectAllAnswered(harness, requests));
  }
  const EngineSnapshot snapshot = harness.engine->Snapshot();
  EXPECT_GT(snapshot.prefix_cache_hit_tokens, snapshot.prefix_cache_queried_tokens / 2);
  EXPECT_LE(snapshot.prefix_cache_hit_tokens, snapshot.prefix_cache_queried_tokens);
}

TEST(EngineInvariance, AFailoverContinuesWithTheSameTokens) {
  // Answered so far by another worker: any number of its tokens come along as a suffix.
  std::mt19937 random(6);
  Harness harness(OptionsWith(400, 4));
  for (int i = 0; i < 12; ++i) {
    GenerationRequest request = RandomRequest("whole", random);
    const std::vector<int32_t> answer = ExpectedAnswer(request);
    for (size_t done = 0; done <= answer.size(); ++done) {
      SCOPED_TRACE(absl::StrCat(i, " after ", done, " of ", answer.size()));
      GenerationRequest rest = request;
      rest.id = RequestId(absl::StrCat(i, "-", done));
      rest.token_ids.insert(rest.token_ids.end(), answer.begin(), answer.begin() + done);
      const auto outcome = harness.Submit(rest);
      ASSERT_NE(outcome, nullptr) << harness.refusal;
      ASSERT_TRUE(harness.RunDry());
      EXPECT_EQ(outcome->tokens(), std::vector<int32_t>(answer.begin() + done, answer.end()));
      EXPECT_EQ(outcome->usage().completion_tokens, static_cast<int64_t>(answer.size()));
      if (done < answer.size()) {
        EXPECT_EQ(outcome->events().front().position, static_cast<int64_t>(done));
      }
    }
  }
}

TEST(EngineInvariance, ATinyEmbeddingCacheLeavesNoTraceAndLocksNothing) {
  // Two pictures that do not fit together, asked for again and again by turns.
  for (const int64_t budget : {0, 200, 1000}) {
    SCOPED_TRACE(budget);
    EngineOptions options = OptionsWith(60, 4);
    options.embedding_cache_bytes = budget;
    options.prefix_caching = false;
    options.max_batch_sequences = 4;
    options.max_step_tokens = 8;
    options.prefill_chunk_tokens = 5;
    Harness harness(options);
    std::vector<GenerationRequest> requests;
    for (int i = 0; i < 12; ++i) {
      GenerationRequest request =
          TextRequest(absl::StrCat("r", i), std::vector<int32_t>(40, FakeModel::kImageToken), 4);
      request.images = {FakeImage(1, 2, 3, i % 2), FakeImage(20, 3, 2, (i + 1) % 2)};
      requests.push_back(request);
    }
    ASSERT_NO_FATAL_FAILURE(ExpectAllAnswered(harness, requests));
    EXPECT_LE(harness.engine->Snapshot().embedding_cache_bytes_used, budget);
  }
}

}  // namespace
}  // namespace tessera::engine::testing
