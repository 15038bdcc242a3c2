// Who comes first, and what the engine tells of its blocks.
#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/worker/engine/engine_harness.h"

namespace tessera::engine::testing {
namespace {

GenerationRequest Request(const std::string& id, int32_t priority, int64_t tokens = 6,
                          int64_t max_tokens = 4) {
  std::vector<int32_t> prompt;
  for (int64_t i = 0; i < tokens; ++i) {
    prompt.push_back(static_cast<int32_t>(2 + (i + 13 * id.size() + id.back()) % 90));
  }
  GenerationRequest request = TextRequest(id, std::move(prompt), max_tokens);
  request.priority = priority;
  return request;
}

TEST(EnginePriority, TheQueueIsServedByPriorityThenAge) {
  EngineOptions options = OptionsWith(100, 4);
  options.max_batch_sequences = 1;
  Harness harness(options);
  std::map<std::string, std::shared_ptr<Outcome>> outcomes;
  for (const auto& [id, priority] : std::vector<std::pair<std::string, int32_t>>{
           {"low", -3}, {"first", 0}, {"high", 7}, {"second", 0}, {"high too", 7}}) {
    outcomes[id] = harness.Submit(Request(id, priority));
  }
  std::vector<std::string> order;
  while (order.size() < outcomes.size()) {
    ASSERT_TRUE(harness.engine->StepForTest());
    for (const auto& [id, outcome] : outcomes) {
      if (outcome->finished() && std::find(order.begin(), order.end(), id) == order.end()) {
        order.push_back(id);
      }
    }
  }
  EXPECT_EQ(order, (std::vector<std::string>{"high", "high too", "first", "second", "low"}));
}

TEST(EnginePriority, TheLowestPriorityMakesWayThenTheYoungest) {
  Harness harness(OptionsWith(14, 4));
  std::vector<GenerationRequest> requests;
  std::vector<std::shared_ptr<Outcome>> outcomes;
  // Each fits at first; all together they do not fit to their ends.
  for (const int32_t priority : {-1, 0, 5, 0}) {
    requests.push_back(Request(absl::StrCat("r", requests.size()), priority, 6, 24));
    outcomes.push_back(harness.Submit(requests.back()));
  }
  harness.engine->StepForTest();
  ASSERT_EQ(harness.engine->Snapshot().running_requests, 4);
  std::vector<size_t> ends;
  while (ends.size() < requests.size()) {
    harness.engine->StepForTest();
    for (size_t i = 0; i < requests.size(); ++i) {
      if (outcomes[i]->finished() && std::find(ends.begin(), ends.end(), i) == ends.end()) {
        ends.push_back(i);
      }
    }
  }
  EXPECT_GT(harness.engine->Snapshot().preemptions, 0u);
  EXPECT_EQ(ends, (std::vector<size_t>{2, 1, 3, 0}));
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(outcomes[i]->tokens(), ExpectedAnswer(requests[i]));
  }
}

TEST(EnginePriority, OutOfRangeIsRefused) {
  Harness harness(OptionsWith(14, 4));
  for (const int32_t priority : {-101, 101}) {
    EXPECT_EQ(harness.Submit(Request("a", priority)), nullptr);
    EXPECT_EQ(harness.refusal.code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(EngineBlocks, WhatBecomesFindableAndWhatNoLongerIsIsTold) {
  EngineOptions options = OptionsWith(10, 4);
  std::map<Digest, int> findable;
  int evictions = 0;
  options.on_block = [&](const Digest& hash, bool is_findable) {
    findable[hash] += is_findable ? 1 : -1;
    evictions += !is_findable;
    EXPECT_EQ(findable[hash], is_findable ? 1 : 0);
  };
  Harness harness(options);
  const auto count = [&] {
    return std::count_if(findable.begin(), findable.end(),
                         [](const auto& entry) { return entry.second == 1; });
  };
  harness.Submit(Request("a", 0, 17, 4));  // 5 blocks, all full in the end
  ASSERT_TRUE(harness.RunDry());
  EXPECT_EQ(count(), 5);
  harness.Submit(Request("a", 0, 17, 4));  // the same once more
  ASSERT_TRUE(harness.RunDry());
  EXPECT_EQ(count(), 5);
  EXPECT_EQ(evictions, 0);
  for (int i = 0; i < 5; ++i) {
    harness.Submit(Request(std::string(i + 2, 'x'), 0, 21, 4));
    ASSERT_TRUE(harness.RunDry());
    EXPECT_EQ(count(), harness.engine->Snapshot().kv_blocks_cached);
  }
  EXPECT_GT(evictions, 10);
}

}  // namespace
}  // namespace tessera::engine::testing
