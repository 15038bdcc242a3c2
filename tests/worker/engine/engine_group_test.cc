// Engines whose steps are bound to those of a group.
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
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

std::vector<int32_t> Prompt(int64_t length, int32_t first = 2) {
  std::vector<int32_t> prompt;
  for (int64_t i = 0; i < length; ++i) prompt.push_back(static_cast<int32_t>((first + i) % 97));
  return prompt;
}

absl::Status Broken() {
  absl::Status status = absl::UnavailableError("a peer is gone");
  status.SetPayload(kGroupBrokenPayload, absl::Cord());
  return status;
}

// One rank of a group that the test plays by hand.
struct ScriptedGroup final : public StepGroup {
  void WakePeers() override { ++num_wakes; }
  bool AnyRankHadRows() const override { return any_rows; }
  Reformed AwaitReform(absl::Time) override {
    ++num_awaits;
    return reform ? reform() : Reformed::kNotYet;
  }
  Reformed BetweenSteps() override { return std::exchange(between, Reformed::kSameKv); }

  int num_wakes = 0;
  int num_awaits = 0;
  bool any_rows = false;
  std::function<Reformed()> reform;
  Reformed between = Reformed::kSameKv;
};

struct GroupHarness {
  explicit GroupHarness(EngineOptions options = OptionsWith(100, 4)) {
    options.step_group = &group;
    harness = std::make_unique<Harness>(options);
    // The group has rows when this rank has.
    harness->model.before_forward = [this](absl::Span<const model::StepSequence> sequences) {
      group.any_rows = others_have_rows || !sequences.empty();
      empty_forwards += sequences.empty();
      return std::exchange(next_error, absl::OkStatus());
    };
  }
  bool Step() { return harness->engine->StepForTest(); }
  int64_t forwards() const { return harness->model.num_forwards; }
  EngineSnapshot snapshot() const { return harness->engine->Snapshot(); }

  ScriptedGroup group;
  std::unique_ptr<Harness> harness;
  bool others_have_rows = false;
  int empty_forwards = 0;
  absl::Status next_error;
};

TEST(EngineGroup, WakesPeersOnceAndStepsUntilNobodyHasRows) {
  GroupHarness rank;
  const GenerationRequest request = TextRequest("a", Prompt(9), 4);
  const auto outcome = rank.harness->Submit(request);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(rank.Step());
  EXPECT_EQ(outcome->tokens(), ExpectedAnswer(request));
  EXPECT_EQ(rank.group.num_wakes, 1);
  EXPECT_EQ(rank.forwards(), 4);
  // Peers may go on: one more Forward, without rows, then sleep.
  EXPECT_FALSE(rank.Step());
  EXPECT_EQ(rank.forwards(), 5);
  EXPECT_FALSE(rank.Step());
  EXPECT_FALSE(rank.Step());
  EXPECT_EQ(rank.forwards(), 5);
  rank.harness->Submit(TextRequest("b", Prompt(9), 1));
  rank.Step();
  EXPECT_EQ(rank.group.num_wakes, 2);
}

TEST(EngineGroup, TakesPartInPeersStepsWithoutWork) {
  GroupHarness rank;
  rank.others_have_rows = true;
  rank.harness->engine->WakeForPeers();
  for (int i = 1; i <= 3; ++i) {
    EXPECT_FALSE(rank.Step());
    EXPECT_EQ(rank.forwards(), i);
  }
  // Also while it drains.
  EXPECT_EQ(rank.harness->engine->Drain(rank.harness->clock.Now()), absl::OkStatus());
  rank.Step();
  rank.others_have_rows = false;
  rank.Step();
  EXPECT_EQ(rank.empty_forwards, 5);
  rank.Step();
  EXPECT_EQ(rank.forwards(), 5);
  EXPECT_EQ(rank.group.num_wakes, 0);
}

TEST(EngineGroup, ACallThatComesWhilePeersStepIsNotKept) {
  GroupHarness rank;
  rank.others_have_rows = true;
  rank.harness->engine->WakeForPeers();
  rank.Step();
  rank.harness->engine->WakeForPeers();
  rank.others_have_rows = true;
  rank.Step();
  rank.others_have_rows = false;
  rank.Step();
  EXPECT_EQ(rank.forwards(), 3);
  rank.Step();
  EXPECT_EQ(rank.forwards(), 3);
}

TEST(EngineGroup, EachStepIsOneForwardWhateverBecomesOfItsRows) {
  GroupHarness rank;
  rank.others_have_rows = true;
  rank.harness->engine->WakeForPeers();
  rank.Step();
  // A picture that cannot be encoded.
  rank.harness->model.before_encode = [](auto) { return absl::InvalidArgumentError("odd"); };
  GenerationRequest picture = TextRequest("picture", Prompt(20), 3);
  picture.images = {FakeImage(2, 1, 1, 1)};
  const auto failed = rank.harness->Submit(picture);
  rank.Step();
  EXPECT_EQ(rank.forwards(), 2);
  EXPECT_EQ(failed->status().code(), absl::StatusCode::kInternal);
  // All cancelled.
  const auto cancelled = rank.harness->Submit(TextRequest("a", Prompt(9), 4));
  rank.harness->engine->Cancel(RequestId("a"));
  rank.Step();
  EXPECT_EQ(rank.forwards(), 3);
  EXPECT_EQ(cancelled->reason(), FinishReason::kCancelled);
  // An error of one sequence.
  const auto bad = rank.harness->Submit(TextRequest("b", Prompt(9), 4));
  rank.next_error = absl::InternalError("not finite");
  rank.Step();
  EXPECT_EQ(rank.forwards(), 4);
  EXPECT_EQ(bad->status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(rank.group.num_awaits, 0);
}

TEST(EngineGroup, LeasesNeedNoStep) {
  GroupHarness rank;
  const LeaseAnswer answer =
      AskForLease(*rank.harness->engine, "l", TextRequest("a", Prompt(9), 4));
  rank.Step();
  EXPECT_TRUE(answer->has_value());
  rank.harness->clock.Advance(absl::Seconds(30));
  rank.Step();
  EXPECT_EQ(rank.snapshot().kv_leases.reclaimed, 1u);
  EXPECT_EQ(rank.forwards(), 0);
  EXPECT_EQ(rank.group.num_wakes, 0);
}

TEST(EngineGroup, ABrokenStepIsRepeatedWithTheSameTokens) {
  for (const int broken_step : {0, 1, 2, 5}) {
    for (const bool in_a_layer : {false, true}) {
      SCOPED_TRACE(absl::StrCat(broken_step, " ", in_a_layer));
      GroupHarness rank;
      const GenerationRequest request = TextRequest("a", Prompt(9), 8);
      const auto outcome = rank.harness->Submit(request);
      for (int i = 0; i < broken_step; ++i) rank.Step();
      if (in_a_layer) {
        rank.harness->model.after_layer = [](int64_t layer) {
          return layer == 0 ? Broken() : absl::OkStatus();
        };
      } else {
        rank.next_error = Broken();
      }
      rank.Step();
      rank.harness->model.after_layer = nullptr;
      for (int i = 0; i < 5; ++i) rank.Step();
      EXPECT_EQ(rank.group.num_awaits, 5);
      EXPECT_EQ(rank.forwards(), broken_step + 1);
      rank.group.reform = [] { return Reformed::kSameKv; };
      ASSERT_TRUE(rank.harness->RunDry());
      EXPECT_EQ(outcome->tokens(), ExpectedAnswer(request));
      EXPECT_EQ(rank.forwards(), 8 + 1);
      EXPECT_EQ(rank.snapshot().steps, 8u);
    }
  }
}

TEST(EngineGroup, ABrokenStepExportsNoRowTwice) {
  GroupHarness rank;
  auto exported = std::make_shared<Exported>();
  GenerationRequest request = TextRequest("a", Prompt(9), 8);
  request.kv_export = ExportTo(exported);
  const auto outcome = rank.harness->Submit(request);
  rank.harness->model.after_layer = [](int64_t) { return Broken(); };
  rank.Step();
  EXPECT_EQ(exported->rows.size(), 1u);
  rank.harness->model.after_layer = nullptr;
  rank.group.reform = [] { return Reformed::kLostKv; };
  ASSERT_TRUE(rank.harness->RunDry());
  EXPECT_EQ(outcome->reason(), FinishReason::kHandedOver);
  ASSERT_NO_FATAL_FAILURE(ExpectAllRowsOnce(*exported, 2, 0, 9));
}

TEST(EngineGroup, WhileItIsBrokenRequestsEndAndQueue) {
  GroupHarness rank;
  Harness& harness = *rank.harness;
  harness.Submit(TextRequest("a", Prompt(9), 8));
  const auto cancelled = harness.Submit(TextRequest("b", Prompt(9), 8));
  GenerationRequest hasty = TextRequest("c", Prompt(9), 8);
  hasty.deadline = harness.clock.Now() + absl::Seconds(10);
  const auto expired = harness.Submit(hasty);
  rank.next_error = Broken();
  rank.Step();
  harness.engine->Cancel(RequestId("b"));
  harness.clock.Advance(absl::Seconds(10));
  const GenerationRequest later = TextRequest("d", Prompt(9), 8);
  const auto queued = harness.Submit(later);
  rank.Step();
  EXPECT_EQ(cancelled->reason(), FinishReason::kCancelled);
  EXPECT_EQ(expired->status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(rank.snapshot().queued_requests, 1);
  rank.group.reform = [] { return Reformed::kSameKv; };
  ASSERT_TRUE(harness.RunDry());
  EXPECT_EQ(queued->tokens(), ExpectedAnswer(later));
}

TEST(EngineGroup, LostKvIsComputedAgain) {
  for (const bool between_steps : {false, true}) {
    EngineOptions options = OptionsWith(100, 4);
    int findable = 0;
    options.on_block = [&](const Digest&, bool is_findable) { findable += is_findable ? 1 : -1; };
    GroupHarness rank(options);
    std::vector<GenerationRequest> requests;
    std::vector<std::shared_ptr<Outcome>> outcomes;
    for (int i = 0; i < 3; ++i) {
      requests.push_back(TextRequest(absl::StrCat(i), Prompt(9 + i, 20 * i + 2), 8));
      requests.back().images = {FakeImage(1, 1, 1, i)};
      outcomes.push_back(rank.harness->Submit(requests.back()));
    }
    const LeaseAnswer lease =
        AskForLease(*rank.harness->engine, "l", TextRequest("l", Prompt(9, 70), 2));
    for (int i = 0; i < 6; ++i) rank.Step();
    ASSERT_TRUE(lease->has_value());
    EXPECT_GT(findable, 0);
    if (between_steps) {
      rank.group.between = Reformed::kLostKv;
    } else {
      rank.next_error = Broken();
      rank.Step();
      rank.group.reform = [] { return Reformed::kLostKv; };
    }
    // Whatever the pages held is gone.
    const int64_t rows = rank.harness->model.num_rows;
    rank.Step();
    const std::vector<std::byte> row(8);
    EXPECT_EQ(rank.harness->engine->WriteRows("l", 0, 0, row).code(), absl::StatusCode::kNotFound);
    if (!between_steps) {
      EXPECT_EQ(findable, 0);
      EXPECT_EQ(rank.snapshot().kv_blocks_used + rank.snapshot().kv_blocks_cached, 0);
    }
    ASSERT_TRUE(rank.harness->RunDry());
    EXPECT_GT(rank.harness->model.num_rows - rows, 9 + 10 + 11);
    EXPECT_EQ(rank.snapshot().kv_leases.lost, 1u);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(outcomes[i]->tokens(), ExpectedAnswer(requests[i]));
  }
}

TEST(EngineGroup, LostKvIsHandedBackWhereItCannotBeComputed) {
  EngineOptions options = OptionsWith(100, 4);
  options.hand_back_preempted = true;
  GroupHarness rank(options);
  const auto running = rank.harness->Submit(TextRequest("a", Prompt(9), 8));
  rank.Step();
  rank.group.between = Reformed::kLostKv;
  rank.Step();
  EXPECT_EQ(running->status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(running->status().GetPayload(kHandedBackPayload).has_value());
}

TEST(EngineGroup, OutsideTheGroupEverythingEnds) {
  GroupHarness rank;
  const auto running = rank.harness->Submit(TextRequest("a", Prompt(9), 8));
  AskForLease(*rank.harness->engine, "l", TextRequest("l", Prompt(9, 70), 2));
  rank.Step();
  rank.next_error = Broken();
  rank.Step();
  rank.group.reform = [] { return Reformed::kNotMember; };
  rank.Step();
  EXPECT_EQ(running->reason(), FinishReason::kError);
  EXPECT_EQ(running->status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(running->status().message()), HasSubstr("not in its group"));
  EXPECT_EQ(rank.snapshot().kv_leases.lost, 1u);
  EXPECT_EQ(rank.snapshot().kv_blocks_used, 0);
  rank.group.reform = nullptr;
  const auto meanwhile = rank.harness->Submit(TextRequest("b", Prompt(9), 8));
  rank.Step();
  EXPECT_EQ(meanwhile->status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(rank.forwards(), 2);
  rank.group.reform = [] { return Reformed::kSameKv; };
  rank.Step();
  const GenerationRequest request = TextRequest("c", Prompt(9), 8);
  const auto back = rank.harness->Submit(request);
  ASSERT_TRUE(rank.harness->RunDry());
  EXPECT_EQ(back->tokens(), ExpectedAnswer(request));
}

TEST(EngineGroup, ALongBreakEndsRequestsButIsNoStall) {
  EngineOptions options = OptionsWith(100, 4);
  options.no_progress_timeout = absl::Seconds(10);
  GroupHarness rank(options);
  const GenerationRequest request = TextRequest("a", Prompt(9), 8);
  const auto first = rank.harness->Submit(request);
  rank.Step();
  rank.next_error = Broken();
  rank.Step();
  rank.harness->clock.Advance(absl::Seconds(9));
  rank.Step();
  EXPECT_FALSE(first->finished());
  rank.group.reform = [&] {
    rank.harness->clock.Advance(absl::Seconds(9));
    return Reformed::kSameKv;
  };
  ASSERT_TRUE(rank.harness->RunDry());
  EXPECT_EQ(first->tokens(), ExpectedAnswer(request));

  const auto second = rank.harness->Submit(request);
  rank.next_error = Broken();
  rank.Step();
  rank.group.reform = nullptr;
  rank.harness->clock.Advance(absl::Seconds(10));
  rank.Step();
  EXPECT_EQ(second->status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second->status().message()), HasSubstr("re-formed"));
}

TEST(EngineGroupThread, AStopEndsTheWaitForTheGroup) {
  ScriptedGroup group;
  std::mutex mutex;
  std::condition_variable changed;
  bool waits = false;
  group.reform = [&] {
    std::lock_guard lock(mutex);
    waits = true;
    changed.notify_all();
    return Reformed::kNotYet;
  };
  EngineOptions options = OptionsWith(100, 4);
  options.step_group = &group;
  auto harness = std::make_unique<Harness>(options);
  harness->model.before_forward = [](auto) { return Broken(); };
  harness->engine->Start();
  const auto outcome = harness->Submit(TextRequest("a", Prompt(9), 8));
  {
    std::unique_lock lock(mutex);
    ASSERT_TRUE(changed.wait_for(lock, std::chrono::seconds(30), [&] { return waits; }));
  }
  harness->engine.reset();
  EXPECT_EQ(outcome->reason(), FinishReason::kCancelled);
}

// Ranks as threads: a Forward of one waits for a Forward of all.
class Lockstep {
 public:
  explicit Lockstep(int num_ranks) : num_ranks_(num_ranks) {}

  // False: the group has ended. *any_rows: whether any rank had rows in this step.
  bool Meet(bool has_rows, bool* any_rows) {
    std::unique_lock lock(mutex_);
    any_ |= has_rows;
    const int64_t step = step_;
    if (++arrived_ == num_ranks_) {
      last_any_ = std::exchange(any_, false);
      arrived_ = 0;
      ++step_;
      changed_.notify_all();
    } else {
      changed_.wait(lock, [&] { return step_ != step || ended_; });
      if (step_ == step) return false;
    }
    *any_rows = last_any_;
    return true;
  }
  void End() {
    std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }

 private:
  const int num_ranks_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int arrived_ = 0;
  int64_t step_ = 0;
  bool any_ = false;
  bool last_any_ = false;
  bool ended_ = false;
};

struct Rank final : public StepGroup {
  void WakePeers() override {
    for (Rank* peer : *ranks) {
      if (peer != this) peer->harness->engine->WakeForPeers();
    }
  }
  bool AnyRankHadRows() const override { return any_rows; }
  Reformed AwaitReform(absl::Time) override { return Reformed::kNotYet; }
  Reformed BetweenSteps() override { return Reformed::kSameKv; }

  std::vector<Rank*>* ranks = nullptr;
  bool any_rows = false;
  std::unique_ptr<Harness> harness;
};

TEST(EngineGroupThread, RanksStepTogetherAndAnswerTheirOwnRequests) {
  constexpr int kRanks = 3;
  Lockstep lockstep(kRanks);
  std::vector<Rank> ranks(kRanks);
  std::vector<Rank*> all;
  for (Rank& rank : ranks) {
    all.push_back(&rank);
    rank.ranks = &all;
    EngineOptions options = OptionsWith(60, 4);
    options.step_group = &rank;
    rank.harness = std::make_unique<Harness>(options);
    rank.harness->model.before_forward = [&](absl::Span<const model::StepSequence> sequences) {
      return lockstep.Meet(!sequences.empty(), &rank.any_rows) ? absl::OkStatus() : Broken();
    };
  }
  for (Rank& rank : ranks) rank.harness->engine->Start();
  // One rank answers alone, then all of them at once, round after round.
  for (int round = 0; round < 30; ++round) {
    std::vector<std::pair<GenerationRequest, std::shared_ptr<Outcome>>> open;
    const int busy = round % 2 == 0 ? 1 : kRanks;
    for (int r = 0; r < busy; ++r) {
      const GenerationRequest request =
          TextRequest(absl::StrCat(round), Prompt(3 + round + r, round), 1 + round % 5);
      open.emplace_back(request, SubmitTo(*ranks[(round + r) % kRanks].harness->engine, request));
    }
    for (const auto& [request, outcome] : open) {
      ASSERT_TRUE(outcome->WaitFinished()) << "round " << round;
      ASSERT_EQ(outcome->tokens(), ExpectedAnswer(request));
    }
  }
  lockstep.End();
  for (Rank& rank : ranks) rank.harness->engine.reset();
  EXPECT_EQ(ranks[0].harness->model.num_forwards > 30, true);
}

}  // namespace
}  // namespace tessera::engine::testing
