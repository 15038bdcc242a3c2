#include "worker/engine/engine.h"

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/worker/engine/engine_harness.h"

namespace tessera::engine::testing {
namespace {

using ::testing::HasSubstr;

std::vector<int32_t> Prompt(int64_t length, int32_t first = 2) {
  std::vector<int32_t> prompt;
  for (int64_t i = 0; i < length; ++i) prompt.push_back(static_cast<int32_t>((first + i) % 97));
  return prompt;
}

TEST(Engine, AnswersWithPositionsAndUsage) {
  Harness harness(OptionsWith(100, 4));
  GenerationRequest request = TextRequest("a", Prompt(20), 6);
  request.images = {FakeImage(3, 1, 2, 1)};
  const auto outcome = harness.Submit(request);
  ASSERT_TRUE(harness.RunDry());
  EXPECT_EQ(outcome->tokens(), ExpectedAnswer(request));
  EXPECT_EQ(outcome->reason(), FinishReason::kLength);
  for (int64_t i = 0; i < 6; ++i) EXPECT_EQ(outcome->events()[i].position, i);
  EXPECT_EQ(outcome->usage().prompt_tokens, 20);
  EXPECT_EQ(outcome->usage().image_tokens, 7);
  EXPECT_EQ(outcome->usage().cached_tokens, 0);
  EXPECT_EQ(outcome->usage().completion_tokens, 6);
  EXPECT_FALSE(harness.engine->StepForTest());
}

TEST(Engine, StopTokensEndTheAnswerAndArePartOfIt) {
  GenerationRequest request = TextRequest("a", Prompt(9), 30);
  const std::vector<int32_t> whole = ExpectedAnswer(request);
  request.stop_token_ids = {whole[4]};
  const auto first = std::find(whole.begin(), whole.end(), whole[4]) - whole.begin();
  Harness harness(OptionsWith(100, 4));
  const auto stopped = harness.Submit(request);
  request.id = RequestId("ignoring");
  request.sampling.ignore_eos = true;
  const auto ignoring = harness.Submit(request);
  request.id = RequestId("late");
  request.sampling.ignore_eos = false;
  request.sampling.min_tokens = 30;
  const auto late = harness.Submit(request);
  ASSERT_TRUE(harness.RunDry());
  EXPECT_EQ(stopped->reason(), FinishReason::kStopToken);
  EXPECT_EQ(stopped->tokens(), std::vector<int32_t>(whole.begin(), whole.begin() + first + 1));
  EXPECT_EQ(ignoring->reason(), FinishReason::kLength);
  EXPECT_EQ(ignoring->tokens(), whole);
  EXPECT_EQ(late->tokens().size(), 30u);
  EXPECT_THAT(late->tokens(), ::testing::Not(::testing::Contains(whole[4])));
}

TEST(Engine, TheContextsLastTokenIsReached) {
  Harness harness(OptionsWith(100, 4), {97, 32});
  const GenerationRequest request = TextRequest("a", Prompt(20), 12);
  const auto outcome = harness.Submit(request);
  ASSERT_TRUE(harness.RunDry());
  EXPECT_EQ(outcome->tokens(), ExpectedAnswer(request));
  EXPECT_EQ(outcome->reason(), FinishReason::kLength);
  EXPECT_EQ(harness.Submit(TextRequest("b", Prompt(20), 13)), nullptr);
  EXPECT_EQ(harness.refusal.code(), absl::StatusCode::kInvalidArgument);
}

TEST(Engine, APromptThatWasAnsweredBeforeComesFromTheCache) {
  Harness harness(OptionsWith(100, 4));
  GenerationRequest request = TextRequest("a", Prompt(17), 3);
  request.images = {FakeImage(2, 1, 1, 1)};
  harness.Submit(request);
  ASSERT_TRUE(harness.RunDry());
  EXPECT_EQ(harness.model.num_encodings, 1);
  request.id = RequestId("b");
  const auto again = harness.Submit(request);
  ASSERT_TRUE(harness.RunDry());
  EXPECT_EQ(again->usage().cached_tokens, 16);
  EXPECT_EQ(again->tokens(), ExpectedAnswer(request));
  EXPECT_EQ(harness.model.num_encodings, 1);
  // The last token of a prompt is always computed.
  request.id = RequestId("c");
  request.token_ids.resize(16);
  request.num_prompt_tokens = 16;
  const auto shorter = harness.Submit(request);
  ASSERT_TRUE(harness.RunDry());
  EXPECT_EQ(shorter->usage().cached_tokens, 12);
}

TEST(Engine, OtherSaltsPicturesAndRolesShareNothing) {
  Harness harness(OptionsWith(200, 4));
  GenerationRequest request = TextRequest("a", Prompt(17), 3);
  request.images = {FakeImage(2, 1, 1, 1)};
  harness.Submit(request);
  ASSERT_TRUE(harness.RunDry());

  GenerationRequest salted = request;
  salted.id = RequestId("salted");
  salted.cache_salt = "tenant";
  GenerationRequest other_picture = request;
  other_picture.id = RequestId("picture");
  other_picture.images = {FakeImage(2, 1, 1, 2)};
  GenerationRequest as_answer = TextRequest("role", Prompt(17), 30);
  as_answer.images = request.images;
  as_answer.num_prompt_tokens = 8;  // the second and later blocks hold generated tokens
  for (const auto& [changed, cached] :
       {std::pair{salted, 0}, std::pair{other_picture, 0}, std::pair{as_answer, 8}}) {
    SCOPED_TRACE(changed.id.value());
    const auto outcome = harness.Submit(changed);
    ASSERT_NE(outcome, nullptr) << harness.refusal;
    ASSERT_TRUE(harness.RunDry());
    EXPECT_EQ(outcome->usage().cached_tokens, cached);
    EXPECT_EQ(outcome->tokens(), ExpectedAnswer(changed));
  }
}

TEST(Engine, APrefixThatEndsInsideAPictureIsContinuedThere) {
  Harness harness(OptionsWith(200, 4));
  GenerationRequest request = TextRequest("a", Prompt(30), 3);
  request.images = {FakeImage(2, 2, 2, 1)};  // tokens 2 to 12
  harness.Submit(request);
  ASSERT_TRUE(harness.RunDry());
  request.id = RequestId("b");
  request.token_ids.resize(15);
  request.token_ids[13] = 96;
  request.num_prompt_tokens = 15;
  const auto outcome = harness.Submit(request);
  ASSERT_TRUE(harness.RunDry());
  EXPECT_EQ(outcome->usage().cached_tokens, 12);
  EXPECT_EQ(outcome->tokens(), ExpectedAnswer(request));
}

TEST(Engine, OnePictureAtMostIsEncodedInAStep) {
  EngineOptions options = OptionsWith(400, 4);
  options.prefix_caching = false;
  Harness harness(options);
  std::vector<std::shared_ptr<Outcome>> outcomes;
  int64_t before = 0;
  int64_t most = 0;
  harness.model.before_forward = [&](auto) {
    most = std::max(most, harness.model.num_encodings - before);
    before = harness.model.num_encodings;
    return absl::OkStatus();
  };
  for (int i = 0; i < 5; ++i) {
    GenerationRequest request = TextRequest(absl::StrCat(i), Prompt(30), 3);
    request.images = {FakeImage(2, 1, 1, 2 * i), FakeImage(10, 1, 1, 2 * i + 1)};
    outcomes.push_back(harness.Submit(request));
  }
  ASSERT_TRUE(harness.RunDry());
  EXPECT_EQ(harness.model.num_encodings, 10);
  EXPECT_EQ(most, 1);
}

TEST(Engine, DecodingGoesOnWhileAPromptIsComputed) {
  EngineOptions options = OptionsWith(400, 4);
  options.prefill_chunk_tokens = 8;
  options.max_batch_sequences = 4;
  options.max_step_tokens = 16;
  Harness harness(options);
  const auto first = harness.Submit(TextRequest("a", Prompt(4), 40));
  harness.engine->StepForTest();
  ASSERT_EQ(first->tokens().size(), 1u);
  const auto second = harness.Submit(TextRequest("b", Prompt(80), 2));
  for (size_t step = 2; !second->finished(); ++step) {
    harness.engine->StepForTest();
    ASSERT_EQ(first->tokens().size(), step);  // a token in each step
  }
}

TEST(Engine, CancelEndsARequestWithinOneStep) {
  Harness harness(OptionsWith(100, 4));
  const auto running = harness.Submit(TextRequest("running", Prompt(5), 50));
  const auto other = harness.Submit(TextRequest("other", Prompt(5), 50));
  harness.engine->StepForTest();
  harness.engine->Cancel(RequestId("running"));
  harness.engine->Cancel(RequestId("running"));
  harness.engine->Cancel(RequestId("unknown"));
  harness.engine->StepForTest();
  EXPECT_EQ(running->num_finishes(), 1);
  EXPECT_EQ(running->reason(), FinishReason::kCancelled);
  EXPECT_EQ(running->status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(running->tokens().size(), 1u);
  EXPECT_FALSE(other->finished());
  // Before it ever ran.
  const auto waiting = harness.Submit(TextRequest("waiting", Prompt(5), 50));
  harness.engine->Cancel(RequestId("waiting"));
  harness.engine->StepForTest();
  EXPECT_EQ(waiting->reason(), FinishReason::kCancelled);
  EXPECT_TRUE(waiting->tokens().empty());
}

TEST(Engine, DeadlinesAreMetByRunningAndWaitingRequests) {
  EngineOptions options = OptionsWith(100, 4);
  options.max_batch_sequences = 1;
  Harness harness(options);
  GenerationRequest request = TextRequest("running", Prompt(5), 50);
  request.deadline = harness.clock.Now() + absl::Seconds(5);
  const auto running = harness.Submit(request);
  request.id = RequestId("waiting");
  const auto waiting = harness.Submit(request);
  request.id = RequestId("patient");
  request.deadline += absl::Seconds(5);
  const auto patient = harness.Submit(request);
  harness.engine->StepForTest();
  EXPECT_EQ(running->tokens().size(), 1u);
  harness.clock.Advance(absl::Seconds(5));
  harness.engine->StepForTest();
  for (const auto& outcome : {running, waiting}) {
    ASSERT_TRUE(outcome->finished());
    EXPECT_EQ(outcome->reason(), FinishReason::kError);
    EXPECT_EQ(outcome->status().code(), absl::StatusCode::kDeadlineExceeded);
  }
  EXPECT_EQ(patient->tokens().size(), 1u);
}

TEST(Engine, TheQueueIsBounded) {
  EngineOptions options = OptionsWith(100, 4);
  options.max_batch_sequences = 1;
  options.max_queued_requests = 2;
  Harness harness(options);
  ASSERT_NE(harness.Submit(TextRequest("a", Prompt(5), 50)), nullptr);
  harness.engine->StepForTest();
  ASSERT_NE(harness.Submit(TextRequest("b", Prompt(5), 5)), nullptr);
  ASSERT_NE(harness.Submit(TextRequest("c", Prompt(5), 5)), nullptr);
  EXPECT_EQ(harness.Submit(TextRequest("d", Prompt(5), 5)), nullptr);
  EXPECT_EQ(harness.refusal.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(harness.refusal.message()), HasSubstr("2"));
  harness.engine->StepForTest();
  EXPECT_EQ(harness.Submit(TextRequest("d", Prompt(5), 5)), nullptr);
  ASSERT_TRUE(harness.RunDry());
  EXPECT_NE(harness.Submit(TextRequest("d", Prompt(5), 5)), nullptr);
}

TEST(Engine, AnIdMayBeUsedAgainOnlyAfterItsEnd) {
  Harness harness(OptionsWith(100, 4));
  ASSERT_NE(harness.Submit(TextRequest("a", Prompt(5), 3)), nullptr);
  EXPECT_EQ(harness.Submit(TextRequest("a", Prompt(5), 3)), nullptr);
  EXPECT_EQ(harness.refusal.code(), absl::StatusCode::kAlreadyExists);
  harness.engine->StepForTest();
  EXPECT_EQ(harness.Submit(TextRequest("a", Prompt(5), 3)), nullptr);
  ASSERT_TRUE(harness.RunDry());
  EXPECT_NE(harness.Submit(TextRequest("a", Prompt(5), 3)), nullptr);
}

TEST(Engine, WhatCanNeverFitIsRefused) {
  Harness harness(OptionsWith(5, 4));
  EXPECT_NE(harness.Submit(TextRequest("fits", Prompt(11), 10)), nullptr);
  EXPECT_EQ(harness.Submit(TextRequest("not", Prompt(11), 11)), nullptr);
  EXPECT_EQ(harness.refusal.code(), absl::StatusCode::kResourceExhausted);
  ASSERT_TRUE(harness.RunDry());
}

absl::Status ErrorOf(int64_t sequence) {
  absl::Status status = absl::InternalError(absl::StrCat("sequence ", sequence, ": not finite"));
  status.SetPayload(model::kSequenceIndexPayload, absl::Cord(absl::StrCat(sequence)));
  return status;
}

TEST(Engine, AnErrorOfOneSequenceEndsThatRequestAlone) {
  Harness harness(OptionsWith(100, 4));
  std::vector<GenerationRequest> requests;
  std::vector<std::shared_ptr<Outcome>> outcomes;
  for (int i = 0; i < 4; ++i) {
    requests.push_back(TextRequest(absl::StrCat(i), Prompt(5 + i, 10 * i + 2), 6));
    outcomes.push_back(harness.Submit(requests.back()));
  }
  harness.engine->StepForTest();
  harness.model.before_forward = [&](absl::Span<const model::StepSequence> sequences) {
    return sequences.size() == 4 ? ErrorOf(2) : absl::OkStatus();
  };
  ASSERT_TRUE(harness.RunDry());
  for (int i = 0; i < 4; ++i) {
    SCOPED_TRACE(i);
    if (i == 2) {
      EXPECT_EQ(outcomes[i]->reason(), FinishReason::kError);
      EXPECT_EQ(outcomes[i]->status().code(), absl::StatusCode::kInternal);
    } else {
      EXPECT_EQ(outcomes[i]->tokens(), ExpectedAnswer(requests[i]));
    }
  }
}

TEST(Engine, AnErrorThatNamesNobodyEndsTheStepsRequests) {
  EngineOptions options = OptionsWith(100, 4);
  options.max_batch_sequences = 2;
  Harness harness(options);
  const auto first = harness.Submit(TextRequest("a", Prompt(5), 6));
  const auto second = harness.Submit(TextRequest("b", Prompt(5), 6));
  const GenerationRequest request = TextRequest("c", Prompt(5), 6);
  const auto third = harness.Submit(request);
  harness.model.before_forward = [&](auto) { return absl::UnknownError("lost"); };
  harness.engine->StepForTest();
  harness.model.before_forward = nullptr;
  EXPECT_EQ(first->status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(second->status().code(), absl::StatusCode::kInternal);
  ASSERT_TRUE(harness.RunDry());
  EXPECT_EQ(third->tokens(), ExpectedAnswer(request));
}

TEST(Engine, APictureThatCannotBeEncodedEndsItsRequestAlone) {
  Harness harness(OptionsWith(100, 4));
  harness.model.before_encode = [](auto) { return absl::InvalidArgumentError("odd"); };
  GenerationRequest request = TextRequest("a", Prompt(20), 3);
  request.images = {FakeImage(2, 1, 1, 1)};
  const auto failed = harness.Submit(request);
  const auto other = harness.Submit(TextRequest("b", Prompt(20), 3));
  ASSERT_TRUE(harness.RunDry());
  EXPECT_EQ(failed->status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(other->reason(), FinishReason::kLength);
}

TEST(Engine, SnapshotsAddUp) {
  EngineOptions options = OptionsWith(100, 4);
  options.max_batch_sequences = 1;
  Harness harness(options);
  harness.Submit(TextRequest("a", Prompt(10), 5));
  harness.Submit(TextRequest("b", Prompt(7), 2));
  EngineSnapshot snapshot = harness.engine->Snapshot();
  EXPECT_EQ(snapshot.queued_requests, 2);
  EXPECT_EQ(snapshot.outstanding_tokens, 15 + 9);
  EXPECT_EQ(snapshot.kv_blocks_total, 100);
  harness.engine->StepForTest();
  snapshot = harness.engine->Snapshot();
  EXPECT_EQ(snapshot.running_requests, 1);
  EXPECT_EQ(snapshot.queued_requests, 1);
  EXPECT_EQ(snapshot.kv_blocks_used, 3);
  EXPECT_EQ(snapshot.prompt_tokens, 10u);
  EXPECT_EQ(snapshot.generated_tokens, 1u);
  EXPECT_EQ(snapshot.outstanding_tokens, 1 + 4 + 9);
  ASSERT_TRUE(harness.RunDry());
  snapshot = harness.engine->Snapshot();
  EXPECT_EQ(snapshot.kv_blocks_used, 0);
  EXPECT_EQ(snapshot.generated_tokens, 7u);
  EXPECT_EQ(snapshot.outstanding_tokens, 0);
}

TEST(Engine, EachStepIsReported) {
  EngineOptions options = OptionsWith(100, 4);
  std::vector<EngineSnapshot> snapshots;
  options.on_step = [&](const EngineSnapshot& snapshot) { snapshots.push_back(snapshot); };
  Harness harness(options);
  harness.Submit(TextRequest("a", Prompt(10), 3));
  ASSERT_TRUE(harness.RunDry());
  harness.engine->StepForTest();
  ASSERT_EQ(snapshots.size(), 3u);
  for (uint64_t i = 0; i < 3; ++i) EXPECT_EQ(snapshots[i].steps, i + 1);
  EXPECT_EQ(snapshots[1].running_requests, 1);
  EXPECT_EQ(snapshots[2].running_requests, 0);
}

TEST(Engine, CreateRefusesABudgetBelowOneBlock) {
  FakeModel model;
  EngineOptions options = OptionsWith(1, 16);
  EXPECT_TRUE(Engine::Create(model, options).ok());
  --options.kv_cache_bytes;
  EXPECT_EQ(Engine::Create(model, options).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(EngineThread, AnswersWhatIsSubmittedFromManyThreads) {
  Harness harness(OptionsWith(100, 4));
  harness.engine->Start();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&harness, t] {
      for (int i = 0; i < 10; ++i) {
        const GenerationRequest request = TextRequest(absl::StrCat(t, ".", i), Prompt(3 + i, t), 8);
        auto outcome = std::make_shared<Outcome>();
        ASSERT_TRUE(harness.engine->Submit(request, std::make_unique<RecordingSink>(outcome)).ok());
        ASSERT_TRUE(outcome->WaitFinished());
        ASSERT_EQ(outcome->tokens(), ExpectedAnswer(request));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(EngineThread, DrainWaitsForWhatIsThereAndRefusesWhatComes) {
  Harness harness(OptionsWith(100, 4));
  harness.engine->Start();
  std::vector<std::shared_ptr<Outcome>> outcomes;
  for (int i = 0; i < 8; ++i) {
    outcomes.push_back(harness.Submit(TextRequest(absl::StrCat(i), Prompt(5), 20)));
  }
  EXPECT_EQ(harness.engine->Drain(harness.clock.Now() + absl::Seconds(30)), absl::OkStatus());
  for (const auto& outcome : outcomes) EXPECT_EQ(outcome->reason(), FinishReason::kLength);
  EXPECT_EQ(harness.Submit(TextRequest("late", Prompt(5), 5)), nullptr);
  EXPECT_EQ(harness.refusal.code(), absl::StatusCode::kUnavailable);
}

TEST(EngineThread, DrainCutsAtItsDeadline) {
  Harness harness(OptionsWith(100, 4));
  std::mutex gate;
  gate.lock();
  harness.model.before_forward = [&](auto) {
    std::lock_guard wait(gate);
    return absl::OkStatus();
  };
  harness.engine->Start();
  const auto outcome = harness.Submit(TextRequest("a", Prompt(5), 50));
  EXPECT_EQ(harness.engine->Drain(harness.clock.Now()).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_FALSE(outcome->finished());
  gate.unlock();
  ASSERT_TRUE(outcome->WaitFinished());
  EXPECT_EQ(outcome->reason(), FinishReason::kCancelled);
}

TEST(EngineThread, DestructionEndsAllRequests) {
  auto harness = std::make_unique<Harness>(OptionsWith(100, 4));
  harness->engine->Start();
  std::vector<std::shared_ptr<Outcome>> outcomes;
  for (int i = 0; i < 8; ++i) {
    outcomes.push_back(harness->Submit(TextRequest(absl::StrCat(i), Prompt(5), 200)));
  }
  harness.reset();
  for (const auto& outcome : outcomes) ASSERT_EQ(outcome->num_finishes(), 1);
}

}  // namespace
}  // namespace tessera::engine::testing
