// K and V that one engine computes and another goes on with.
#include <algorithm>
#include <functional>
#include <future>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/worker/engine/handoff_harness.h"

namespace tessera::engine::testing {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kLayers = 2;

std::vector<int32_t> Prompt(int64_t length, int32_t first = 2) {
  std::vector<int32_t> prompt;
  for (int64_t i = 0; i < length; ++i) prompt.push_back(static_cast<int32_t>((first + i) % 97));
  return prompt;
}

TEST(EngineHandoff, TheTokensAreThoseOfOneEngine) {
  std::mt19937 random(11);
  for (const int64_t chunk : {3, 7, 512}) {
    EngineOptions options = OptionsWith(300, 4);
    options.prefill_chunk_tokens = chunk;
    Harness prefill(options);
    Harness decode(OptionsWith(300, 8));  // blocks of another size
    int handed_over = 0;
    for (int i = 0; i < 40; ++i) {
      const GenerationRequest request = RandomRequest(absl::StrCat("r", i), random);
      SCOPED_TRACE(absl::StrCat(chunk, " ", i));
      const Handoff handoff = HandOver(*prefill.engine, *decode.engine, request);
      ASSERT_EQ(handoff.status, absl::OkStatus());
      ASSERT_EQ(handoff.tokens, ExpectedAnswer(request));
      ASSERT_NO_FATAL_FAILURE(
          ExpectAllRowsOnce(*handoff.exported, kLayers, handoff.from, request.num_prompt_tokens));
      for (size_t k = 0; k < handoff.events.size(); ++k) {
        ASSERT_EQ(handoff.events[k].position, static_cast<int64_t>(k));
      }
      ASSERT_EQ(handoff.usage.completion_tokens, static_cast<int64_t>(handoff.tokens.size()));
      handed_over += handoff.tokens.size() > 1;
    }
    EXPECT_GT(handed_over, 20);
    // Families of prompts: both sides met prefixes that they knew.
    EXPECT_GT(prefill.engine->Snapshot().prefix_cache_hit_tokens, 0u);
    const EngineSnapshot snapshot = decode.engine->Snapshot();
    EXPECT_GT(snapshot.prefix_cache_hit_tokens, 0u);
    EXPECT_EQ(snapshot.prompt_tokens, 0u);  // computed no prompt
    EXPECT_EQ(snapshot.kv_blocks_used, 0);
    EXPECT_EQ(snapshot.kv_leases.granted, 40u);
    EXPECT_EQ(snapshot.kv_leases.adopted, static_cast<uint64_t>(handed_over));
    EXPECT_EQ(snapshot.kv_leases.adopted + snapshot.kv_leases.released, 40u);
    EXPECT_EQ(decode.model.num_encodings, 0);
  }
}

TEST(EngineHandoff, AFailoverIsHandedOverWithItsTokens) {
  Harness prefill(OptionsWith(100, 4));
  Harness decode(OptionsWith(100, 4));
  GenerationRequest request = TextRequest("a", Prompt(10), 12);
  const std::vector<int32_t> answer = ExpectedAnswer(request);
  request.token_ids.insert(request.token_ids.end(), answer.begin(), answer.begin() + 5);
  const Handoff handoff = HandOver(*prefill.engine, *decode.engine, request);
  EXPECT_EQ(handoff.tokens, std::vector<int32_t>(answer.begin() + 5, answer.end()));
  ASSERT_NO_FATAL_FAILURE(ExpectAllRowsOnce(*handoff.exported, kLayers, 0, 15));
}

TEST(EngineHandoff, ATokenThatEndsTheAnswerIsNotHandedOver) {
  Harness prefill(OptionsWith(100, 4));
  Harness decode(OptionsWith(100, 4));
  GenerationRequest request = TextRequest("a", Prompt(10), 1);
  EXPECT_EQ(HandOver(*prefill.engine, *decode.engine, request).reason, FinishReason::kLength);
  request.sampling.max_tokens = 5;
  request.stop_token_ids = {ExpectedAnswer(request)[0]};
  EXPECT_EQ(HandOver(*prefill.engine, *decode.engine, request).reason, FinishReason::kStopToken);
  EXPECT_EQ(decode.engine->Snapshot().kv_leases.released, 2u);
  EXPECT_EQ(decode.engine->Snapshot().kv_blocks_used, 0);
}

TEST(EngineHandoff, RowsFollowLayerByLayerWhileAStepRuns) {
  Harness harness(OptionsWith(100, 4));
  auto exported = std::make_shared<Exported>();
  std::vector<size_t> seen;
  harness.model.after_layer = [&](int64_t) {
    seen.push_back(exported->rows.size());
    return absl::OkStatus();
  };
  GenerationRequest request = TextRequest("a", Prompt(10), 5);
  request.kv_export = ExportTo(exported);
  const auto outcome = harness.Submit(request);
  harness.engine->StepForTest();
  EXPECT_EQ(seen, (std::vector<size_t>{1, 2}));
  EXPECT_EQ(outcome->reason(), FinishReason::kHandedOver);
  // What was computed is known to the next request.
  const auto again = harness.Submit(TextRequest("b", Prompt(10), 2));
  harness.RunDry();
  EXPECT_EQ(again->usage().cached_tokens, 8);
}

TEST(EngineHandoff, APreemptedPromptExportsNoRowTwice) {
  EngineOptions options = OptionsWith(12, 4);
  options.prefill_chunk_tokens = 6;
  options.max_batch_sequences = 4;
  options.max_step_tokens = 10;
  options.prefix_caching = false;
  Harness harness(options);
  const GenerationRequest older = TextRequest("old", Prompt(8), 30);
  const auto first = harness.Submit(older);
  harness.engine->StepForTest();
  auto exported = std::make_shared<Exported>();
  GenerationRequest request = TextRequest("young", Prompt(30, 40), 5);
  request.kv_export = ExportTo(exported);
  const auto second = harness.Submit(request);
  harness.engine->StepForTest();
  ASSERT_FALSE(exported->rows.empty());
  // The older one has priority and takes what is left.
  GenerationRequest urgent = TextRequest("urgent", Prompt(20, 60), 20);
  urgent.priority = 1;
  const auto third = harness.Submit(urgent);
  ASSERT_TRUE(harness.RunDry());
  EXPECT_EQ(first->tokens(), ExpectedAnswer(older));
  EXPECT_EQ(third->tokens(), ExpectedAnswer(urgent));
  EXPECT_EQ(second->reason(), FinishReason::kHandedOver);
  EXPECT_GT(harness.engine->Snapshot().preemptions, 0u);
  ASSERT_NO_FATAL_FAILURE(ExpectAllRowsOnce(*exported, kLayers, 0, 30));
}

TEST(EngineLease, CountsAsUsedAndEndsAtItsDeadline) {
  Harness harness(OptionsWith(100, 4));
  const GenerationRequest prompt = TextRequest("a", Prompt(10), 5);
  const LeaseAnswer answer = AskForLease(*harness.engine, "l", prompt, absl::Seconds(5));
  harness.engine->StepForTest();
  ASSERT_TRUE(answer->has_value());
  ASSERT_TRUE((*answer)->ok());
  EXPECT_EQ((**answer)->id, "l");
  EXPECT_EQ((**answer)->num_tokens, 10);
  EXPECT_EQ((**answer)->blocks.size(), 3u);
  EXPECT_EQ((**answer)->deadline, harness.clock.Now() + absl::Seconds(5));
  EXPECT_EQ(harness.engine->Snapshot().kv_blocks_used, 3);
  EXPECT_EQ(harness.engine->Snapshot().queued_requests, 0);
  const std::vector<std::byte> row(8);
  EXPECT_EQ(harness.engine->WriteRows("l", 0, 0, row), absl::OkStatus());
  harness.clock.Advance(absl::Seconds(5));
  EXPECT_EQ(harness.engine->WriteRows("l", 0, 1, row).code(), absl::StatusCode::kNotFound);
  harness.engine->StepForTest();
  EXPECT_EQ(harness.engine->Snapshot().kv_blocks_used, 0);
  EXPECT_EQ(harness.engine->Snapshot().kv_leases.reclaimed, 1u);
  const auto refused = harness.Submit(Continuation(prompt, "l", {3}));
  EXPECT_EQ(refused, nullptr);
  EXPECT_EQ(harness.refusal.code(), absl::StatusCode::kNotFound);
}

TEST(EngineLease, IsGivenBackGrantedOrNot) {
  EngineOptions options = OptionsWith(10, 4);
  Harness harness(options);
  const GenerationRequest prompt = TextRequest("a", Prompt(20), 8);
  const LeaseAnswer first = AskForLease(*harness.engine, "1", prompt);
  const LeaseAnswer second = AskForLease(*harness.engine, "2", prompt);
  harness.engine->StepForTest();
  ASSERT_TRUE((*first)->ok());
  EXPECT_FALSE(second->has_value());
  EXPECT_EQ(harness.engine->Snapshot().queued_requests, 1);
  const LeaseAnswer again = AskForLease(*harness.engine, "1", prompt);
  const LeaseAnswer third = AskForLease(*harness.engine, "2", prompt);
  harness.engine->StepForTest();
  EXPECT_EQ((*again)->status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ((*third)->status().code(), absl::StatusCode::kAlreadyExists);
  harness.engine->ReleaseLease("2");
  harness.engine->ReleaseLease("unknown");
  harness.engine->StepForTest();
  EXPECT_EQ((*second)->status().code(), absl::StatusCode::kCancelled);
  harness.engine->ReleaseLease("1");
  harness.engine->StepForTest();
  EXPECT_EQ(harness.engine->Snapshot().kv_leases.released, 1u);
  EXPECT_EQ(harness.engine->Snapshot().kv_blocks_used, 0);
}

TEST(EngineLease, IsRefusedWithAReason) {
  EngineOptions options = OptionsWith(10, 4);
  options.max_queued_requests = 2;
  Harness harness(options);
  const auto refusal = [&](const std::string& id, const GenerationRequest& prompt,
                           absl::Duration lease = absl::Seconds(1)) {
    const LeaseAnswer answer = AskForLease(*harness.engine, id, prompt, lease);
    return answer->has_value() ? (*answer)->status() : absl::OkStatus();
  };
  const GenerationRequest prompt = TextRequest("a", Prompt(20), 8);
  EXPECT_THAT(std::string(refusal("", prompt).message()), HasSubstr("handoff_id"));
  EXPECT_THAT(std::string(refusal("l", prompt, absl::ZeroDuration()).message()),
              HasSubstr("lease"));
  EXPECT_EQ(refusal("l", TextRequest("a", Prompt(20), 30)).code(),
            absl::StatusCode::kResourceExhausted);  // can never fit
  GenerationRequest hasty = prompt;
  hasty.deadline = harness.clock.Now() + absl::Seconds(1);
  const LeaseAnswer held = AskForLease(*harness.engine, "held", prompt);
  harness.engine->StepForTest();
  const LeaseAnswer late = AskForLease(*harness.engine, "late", hasty);
  const LeaseAnswer patient = AskForLease(*harness.engine, "patient", prompt);
  const absl::Status full = refusal("l", prompt);
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(full.GetPayload(kQueueFullPayload).has_value());
  harness.engine->StepForTest();
  harness.clock.Advance(absl::Seconds(1));
  harness.engine->StepForTest();
  EXPECT_EQ((*late)->status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(harness.engine->Drain(harness.clock.Now()), absl::OkStatus());
  EXPECT_EQ(refusal("l", prompt).code(), absl::StatusCode::kUnavailable);
  harness.engine->StepForTest();
  EXPECT_EQ((*patient)->status().code(), absl::StatusCode::kUnavailable);
}

TEST(EngineLease, WrongRowsAreRefused) {
  Harness harness(OptionsWith(100, 4));
  harness.Submit(TextRequest("a", Prompt(9), 2));
  ASSERT_TRUE(harness.RunDry());
  const LeaseAnswer answer = AskForLease(*harness.engine, "l", TextRequest("b", Prompt(10), 5));
  harness.engine->StepForTest();
  ASSERT_EQ((**answer)->num_cached_tokens, 8);
  const std::vector<std::byte> row(8);
  const std::vector<std::byte> three(24);
  const auto code = [&](int64_t layer, int64_t first, const std::vector<std::byte>& rows) {
    return harness.engine->WriteRows("l", layer, first, rows).code();
  };
  EXPECT_EQ(harness.engine->WriteRows("x", 0, 8, row).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(code(-1, 8, row), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(kLayers, 8, row), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(0, 7, row), absl::StatusCode::kInvalidArgument);  // others read this block
  EXPECT_EQ(code(0, 10, row), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(0, 8, three), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(0, INT64_MAX, row), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(0, 8, {}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(0, 8, std::vector<std::byte>(7)), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(0, 8, row), absl::StatusCode::kOk);
}

TEST(EngineLease, IsAdoptedWholeAndByItsPromptAlone) {
  Harness harness(OptionsWith(100, 4));
  GenerationRequest prompt = TextRequest("a", Prompt(10), 5);
  prompt.images = {FakeImage(1, 1, 1, 1)};
  AskForLease(*harness.engine, "l", prompt);
  harness.engine->StepForTest();
  const auto code = [&](const std::function<void(GenerationRequest&)>& change) {
    GenerationRequest request = Continuation(prompt, "l", {3});
    change(request);
    EXPECT_EQ(harness.Submit(request), nullptr);
    return harness.refusal.code();
  };
  EXPECT_EQ(code([](auto&) {}), absl::StatusCode::kFailedPrecondition);  // nothing is written
  EXPECT_EQ(code([](auto& r) { r.cache_salt = "s"; }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code([](auto& r) { r.token_ids[8] = 5; }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code([](auto& r) { r.images[0].identity[3] ^= 1; }),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code([](auto& r) { r.images.clear(); }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code([](auto& r) { r.token_ids.pop_back(); }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code([](auto& r) { r.kv_lease = "x"; }), absl::StatusCode::kNotFound);
  const std::vector<std::byte> rows(10 * 8);
  ASSERT_TRUE(harness.engine->WriteRows("l", 0, 0, rows).ok());
  ASSERT_TRUE(harness.engine->WriteRows("l", 1, 0, absl::MakeConstSpan(rows).first(72)).ok());
  EXPECT_EQ(code([](auto&) {}), absl::StatusCode::kFailedPrecondition);  // one row is missing
  ASSERT_TRUE(harness.engine->WriteRows("l", 1, 9, absl::MakeConstSpan(rows).first(8)).ok());
  EXPECT_NE(harness.Submit(Continuation(prompt, "l", {3})), nullptr);
  ASSERT_TRUE(harness.RunDry());
}

// Fills a lease with what a prefill engine of its own computes; returns the first token.
int32_t Fill(Engine& decode, const std::string& lease_id, GenerationRequest request) {
  Harness prefill(OptionsWith(100, 4));
  auto exported = std::make_shared<Exported>();
  request.kv_export = ExportTo(exported);
  const auto outcome = prefill.Submit(request);
  prefill.RunDry();
  for (const Exported::Rows& rows : exported->rows) {
    EXPECT_EQ(decode.WriteRows(lease_id, rows.layer, rows.first_position, rows.bytes),
              absl::OkStatus());
  }
  return outcome->tokens().at(0);
}

TEST(EngineLease, AdoptedSequencesWaitForAPlaceWithTheirBlocks) {
  EngineOptions options = OptionsWith(100, 4);
  options.max_batch_sequences = 1;
  options.prefix_caching = false;
  Harness harness(options);
  const GenerationRequest running = TextRequest("running", Prompt(10), 20);
  const auto first = harness.Submit(running);
  harness.engine->StepForTest();
  const GenerationRequest request = TextRequest("b", Prompt(10, 30), 5);
  AskForLease(*harness.engine, "l", request);
  harness.engine->StepForTest();
  const int32_t token = Fill(*harness.engine, "l", request);
  const auto second = harness.Submit(Continuation(request, "l", {token}));
  harness.engine->StepForTest();
  EXPECT_EQ(harness.engine->Snapshot().queued_requests, 1);
  EXPECT_EQ(harness.engine->Snapshot().kv_leases.adopted, 1u);
  ASSERT_TRUE(harness.RunDry());
  EXPECT_EQ(first->tokens(), ExpectedAnswer(running));
  const std::vector<int32_t> answer = ExpectedAnswer(request);
  EXPECT_EQ(second->tokens(), std::vector<int32_t>(answer.begin() + 1, answer.end()));
}

TEST(EngineLease, LeavesEveryRunningSequenceItsWayToTheEnd) {
  // 12 blocks; the running one grows to 8 of them, so no lease of more than 4 is granted.
  Harness harness(OptionsWith(12, 4));
  const GenerationRequest running = TextRequest("running", Prompt(5), 28);
  const auto outcome = harness.Submit(running);
  harness.engine->StepForTest();
  const LeaseAnswer large = AskForLease(*harness.engine, "large", TextRequest("a", Prompt(17), 2));
  harness.engine->StepForTest();
  EXPECT_FALSE(large->has_value());
  harness.engine->ReleaseLease("large");
  const LeaseAnswer fits = AskForLease(*harness.engine, "fits", TextRequest("a", Prompt(16), 2));
  harness.engine->StepForTest();
  ASSERT_TRUE(fits->has_value());
  for (int i = 0; i < 40 && !outcome->finished(); ++i) harness.engine->StepForTest();
  EXPECT_EQ(outcome->tokens(), ExpectedAnswer(running));
  EXPECT_EQ(harness.engine->Snapshot().preemptions, 0u);
  // A request that would need the leased blocks waits for the end of the lease.
  const GenerationRequest wide = TextRequest("wide", Prompt(5), 40);
  const auto waiting = harness.Submit(wide);
  for (int i = 0; i < 10; ++i) harness.engine->StepForTest();
  EXPECT_EQ(harness.engine->Snapshot().queued_requests, 1);
  harness.clock.Advance(absl::Seconds(30));
  ASSERT_TRUE(harness.RunDry());
  EXPECT_EQ(waiting->tokens(), ExpectedAnswer(wide));
}

TEST(EngineLease, PreemptedSequencesAreHandedBack) {
  EngineOptions options = OptionsWith(10, 4);
  options.hand_back_preempted = true;
  Harness harness(options);
  const GenerationRequest older = TextRequest("old", Prompt(15), 20);
  const auto first = harness.Submit(older);
  const auto second = harness.Submit(TextRequest("young", Prompt(15, 40), 20));
  ASSERT_TRUE(harness.RunDry());
  EXPECT_EQ(first->tokens(), ExpectedAnswer(older));
  EXPECT_EQ(second->reason(), FinishReason::kError);
  EXPECT_EQ(second->status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(second->status().GetPayload(kHandedBackPayload).has_value());
  EXPECT_THAT(std::string(second->status().message()), HasSubstr("preempted"));
  EXPECT_GT(second->tokens().size(), 1u);
}

TEST(EngineLease, WithoutTilesAPreemptedSequenceIsHandedBackToo) {
  EngineOptions options = OptionsWith(10, 4);
  options.prefix_caching = false;
  Harness harness(options);
  GenerationRequest request = TextRequest("pictures", Prompt(15, 30), 20);
  request.images = {FakeImage(1, 1, 1, 1)};
  AskForLease(*harness.engine, "l", request);
  harness.engine->StepForTest();
  const int32_t token = Fill(*harness.engine, "l", request);
  const auto adopted = harness.Submit(Continuation(request, "l", {token}));
  GenerationRequest urgent = TextRequest("urgent", Prompt(15), 20);
  urgent.priority = 5;
  const auto first = harness.Submit(urgent);
  ASSERT_TRUE(harness.RunDry());
  EXPECT_EQ(first->tokens(), ExpectedAnswer(urgent));
  EXPECT_EQ(adopted->status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(adopted->status().GetPayload(kHandedBackPayload).has_value()) << adopted->status();
}

TEST(EngineLease, ManyThreadsWriteTakeAndGiveBack) {
  EngineOptions options = OptionsWith(40, 4);
  options.prefix_caching = false;
  Harness decode(options);
  const GenerationRequest prompt = TextRequest("p", Prompt(13), 6);
  const std::vector<int32_t> answer = ExpectedAnswer(prompt);
  auto exported = std::make_shared<Exported>();
  {
    Harness prefill(options);
    GenerationRequest first = prompt;
    first.kv_export = ExportTo(exported);
    prefill.Submit(first);
    ASSERT_TRUE(prefill.RunDry());
  }
  decode.engine->Start();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) {
        const std::string id = absl::StrCat(t, ".", i);
        auto granted = std::make_shared<std::promise<absl::StatusOr<KvLease>>>();
        decode.engine->LeaseBlocks(
            id, prompt, absl::Seconds(30),
            [granted](absl::StatusOr<KvLease> lease) { granted->set_value(std::move(lease)); });
        auto future = granted->get_future();
        ASSERT_EQ(future.wait_for(std::chrono::seconds(30)), std::future_status::ready);
        ASSERT_TRUE(future.get().ok());
        std::thread other([&] {
          for (const Exported::Rows& rows : exported->rows) {
            // Not OK where the lease is given back meanwhile.
            if (rows.layer == 1) {
              decode.engine->WriteRows(id, 1, rows.first_position, rows.bytes).IgnoreError();
            }
          }
        });
        if (i % 3 == 2) decode.engine->ReleaseLease(id);
        for (const Exported::Rows& rows : exported->rows) {
          if (rows.layer == 0) {
            decode.engine->WriteRows(id, 0, rows.first_position, rows.bytes).IgnoreError();
          }
        }
        other.join();
        if (i % 3 == 2) continue;
        GenerationRequest rest = Continuation(prompt, id, {answer[0]});
        rest.id = RequestId(id);
        auto outcome = std::make_shared<Outcome>();
        ASSERT_TRUE(
            decode.engine->Submit(std::move(rest), std::make_unique<RecordingSink>(outcome)).ok());
        ASSERT_TRUE(outcome->WaitFinished());
        ASSERT_EQ(outcome->tokens(), std::vector<int32_t>(answer.begin() + 1, answer.end()));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_EQ(decode.engine->Drain(decode.clock.Now() + absl::Seconds(30)), absl::OkStatus());
  EXPECT_EQ(decode.engine->Snapshot().kv_leases.granted, 80u);
}

}  // namespace
}  // namespace tessera::engine::testing
