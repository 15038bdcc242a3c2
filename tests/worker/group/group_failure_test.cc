// Ranks that die, hang or say nonsense in the middle of a step.
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "tests/worker/group/column_requests.h"
#include "tests/worker/group/group_fixture.h"
#include "tests/worker/group/rank_group.h"
#include "worker/engine/step_group.h"
#include "worker/group/group_model.h"
#include "worker/transport/transport.h"

namespace tessera::group {
namespace {

// Dies with its rank at a call of a given number.
class Mortal final : public transport::Communicator {
 public:
  Mortal(std::unique_ptr<transport::Communicator> inner, int calls_left)
      : inner_(std::move(inner)),
        rank_(inner_->rank()),
        size_(inner_->size()),
        calls_left_(calls_left) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::unique_ptr<transport::PendingExchange> StartAllToAllV(
      const transport::SendParts& send, const transport::RecvParts& receive) override {
    if (Dies()) return std::make_unique<Dead>();
    return inner_->StartAllToAllV(send, receive);
  }
  absl::Status Send(int peer, absl::Span<const std::byte> bytes, absl::Time deadline) override {
    return Dies() ? Death() : inner_->Send(peer, bytes, deadline);
  }
  absl::Status Recv(int peer, absl::Span<std::byte> bytes, absl::Time deadline) override {
    return Dies() ? Death() : inner_->Recv(peer, bytes, deadline);
  }
  absl::Status Broadcast(int root, absl::Span<std::byte> bytes, absl::Time deadline) override {
    return Dies() ? Death() : inner_->Broadcast(root, bytes, deadline);
  }
  absl::Status AllGather(absl::Span<const std::byte> send, absl::Span<std::byte> receive,
                         absl::Time deadline) override {
    return Dies() ? Death() : inner_->AllGather(send, receive, deadline);
  }
  absl::Status Barrier(absl::Time deadline) override {
    return Dies() ? Death() : inner_->Barrier(deadline);
  }
  void Abort() override {
    std::lock_guard lock(mutex_);
    if (inner_ != nullptr) inner_->Abort();
  }

 private:
  struct Dead final : transport::PendingExchange {
    absl::Status Wait(absl::Time) override { return Death(); }
  };
  static absl::Status Death() { return absl::InternalError("this rank is dead"); }
  bool Dies() {
    if (calls_left_-- > 0) return false;
    std::lock_guard lock(mutex_);
    inner_.reset();
    return true;
  }

  std::mutex mutex_;  // Abort against the death
  std::unique_ptr<transport::Communicator> inner_;
  const int rank_;
  const int size_;
  int calls_left_;
};

constexpr absl::Duration kStepTimeout = absl::Seconds(20);

class GroupFailures : public testing::Test {
 protected:
  static StepOptions Options() {
    StepOptions options;
    options.step_timeout = kStepTimeout;
    return options;
  }

  // The victim dies at its call'th use of a communicator in the second step. All fail in time, and
  // the other columns go on in a new epoch with the K and V that they have.
  void DieAndGoOn(const GroupShape& shape, const GroupPlace& victim, bool of_stage, int call) {
    const std::string what = "rank (" + std::to_string(victim.stage) + ", " +
                             std::to_string(victim.column) + ") at call " + std::to_string(call) +
                             (of_stage ? " of its stage" : " of all");
    const auto group = fixture_.MakeGroup(shape, Options());
    const std::vector<int64_t> all = group->all_columns();
    std::vector<std::vector<size_t>> prompts;
    for (const int64_t column : all) prompts.push_back({static_cast<size_t>(column)});
    const auto requests = fixture_.MakeRequests(*group, prompts);
    const auto step = [&](int64_t column) {
      return requests[static_cast<size_t>(column)]->Step(group->lead(column), 15);
    };
    group->EnterAll();
    OnThreads(all, [&](int64_t column) { EXPECT_TRUE(step(column).ok()); });
    group->Enter(
        all, EvenPlacement,
        [&](const GroupPlace& place, bool is_stage, std::unique_ptr<transport::Communicator> inner)
            -> std::unique_ptr<transport::Communicator> {
          if (place.stage != victim.stage || place.column != victim.column || is_stage != of_stage)
            return inner;
          return std::make_unique<Mortal>(std::move(inner), call);
        });
    const absl::Time start = absl::Now();
    OnThreads(all, [&](int64_t column) {
      const absl::Status status = step(column);
      EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << what << ": " << status;
      EXPECT_TRUE(status.GetPayload(engine::kGroupBrokenPayload)) << what;
      // At once from now on.
      EXPECT_TRUE(step(column).GetPayload(engine::kGroupBrokenPayload)) << what;
    });
    EXPECT_LT(absl::Now() - start, kStepTimeout / 2) << what;

    std::vector<int64_t> rest;
    for (const int64_t column : all) {
      if (column != victim.column) rest.push_back(column);
    }
    group->Enter(rest);
    OnThreads(rest, [&](int64_t column) {
      for (int i = 0; i < 8; ++i) {
        const absl::Status status = step(column);
        EXPECT_TRUE(status.ok()) << what << ": " << status;
        if (!status.ok()) return;
      }
    });
    for (const int64_t column : rest)
      fixture_.ExpectTruth(*requests[static_cast<size_t>(column)], prompts[column], what);
  }

  GroupFixture fixture_{"small_mla", kernels::Compute::kBF16, {30, 37, 18, 45}};
};

TEST_F(GroupFailures, ALeadDies) {
  // The agreement; then per MoE layer amounts, rows, results.
  for (const int call : {0, 1, 2, 3, 5, 9}) DieAndGoOn({1, 4}, {0, 2}, true, call);
  for (const int call : {0, 2}) DieAndGoOn({1, 2}, {0, 0}, true, call);
}

TEST_F(GroupFailures, ARankOfAStageDies) {
  for (const int call : {0, 1, 2, 4}) DieAndGoOn({2, 2}, {1, 1}, true, call);
  for (const int call : {0, 1, 2, 3, 4}) DieAndGoOn({2, 2}, {1, 0}, false, call);
  for (const int call : {0, 1, 2, 3}) DieAndGoOn({2, 2}, {0, 1}, false, call);
  DieAndGoOn({3, 2}, {2, 1}, false, 3);
  DieAndGoOn({3, 2}, {1, 1}, true, 2);
}

TEST_F(GroupFailures, ARankThatHangsIsGivenUpAtTheDeadline) {
  StepOptions options;
  options.step_timeout = absl::Milliseconds(200);
  const auto group = fixture_.MakeGroup({1, 2}, options);
  group->EnterAll();
  auto requests = fixture_.MakeRequests(*group, {{0}, {1}});
  const absl::Time start = absl::Now();
  const absl::Status status = requests[0]->Step(group->lead(0), kMaxTokens);
  EXPECT_TRUE(status.GetPayload(engine::kGroupBrokenPayload)) << status;
  EXPECT_GE(absl::Now() - start, options.step_timeout);
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
  // The late one finds the group broken.
  EXPECT_TRUE(
      requests[1]->Step(group->lead(1), kMaxTokens).GetPayload(engine::kGroupBrokenPayload));
}

TEST_F(GroupFailures, AbortEndsAStepUnderWay) {
  const auto group = fixture_.MakeGroup({2, 2}, Options());
  group->EnterAll();
  auto requests = fixture_.MakeRequests(*group, {{0}, {1}});
  absl::Status status;
  std::atomic<bool> stepping{false};
  std::thread stepper([&] {
    stepping = true;
    status = requests[0]->Step(group->lead(0), kMaxTokens);  // its peer never comes
  });
  while (!stepping) std::this_thread::yield();
  group->lead(0).Abort();
  stepper.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(status.GetPayload(engine::kGroupBrokenPayload));
}

TEST_F(GroupFailures, AbortEndsAFollowersIdleWait) {
  const auto group = fixture_.MakeGroup({3, 1}, Options());
  group->EnterAll();
  auto requests = fixture_.MakeRequests(*group, {{0}});
  EXPECT_TRUE(requests[0]->Step(group->lead(0), kMaxTokens).ok());
  group->Leave();
  EXPECT_FALSE(group->follower_status(1, 0).ok());
  EXPECT_FALSE(group->follower_status(2, 0).ok());
}

// A lead of another epoch, one of another build, and a rank with nonsense to tell.
TEST_F(GroupFailures, APeerThatSaysNonsenseBreaksTheGroup) {
  struct Agreement {
    uint64_t magic, epoch;
    int64_t pieces;
  };
  for (int nonsense = 0; nonsense < 4; ++nonsense) {
    const auto group = fixture_.MakeGroup({1, 2}, Options());
    auto requests = fixture_.MakeRequests(*group, {{0}, {1}});
    auto ranks = transport::MakeInProcess(2);
    GroupEpoch epoch;
    epoch.number = 5;
    epoch.shape = {1, 2};
    auto all = transport::MakeInProcess(2);
    epoch.all = std::move(all[0]);
    epoch.stage = std::move(ranks[0]);
    epoch.placement = EvenPlacement(group->ExpertsOfLayer(0), 2);
    ASSERT_TRUE(group->lead(0).Enter(std::move(epoch)).ok());
    std::thread peer([&] {
      transport::Communicator& mine = *ranks[1];
      const absl::Time deadline = absl::Now() + kStepTimeout;
      Agreement agreements[2];
      Agreement own{0x3170657453754754, 5, 1};
      if (nonsense == 0) own.epoch = 4;
      if (nonsense == 1) own.magic ^= 1;
      if (nonsense == 2) own.pieces = -1;
      mine.AllGather({reinterpret_cast<const std::byte*>(&own), sizeof own},
                     {reinterpret_cast<std::byte*>(agreements), sizeof agreements}, deadline)
          .IgnoreError();
      if (nonsense < 3) return;
      const int32_t amounts[4] = {1 << 20, 1 << 20, 0, 0};
      int32_t found[4];
      const int64_t sizes[2] = {8, 8};
      mine.AllToAllV({{reinterpret_cast<const std::byte*>(amounts), sizeof amounts}, sizes},
                     {{reinterpret_cast<std::byte*>(found), sizeof found}, sizes}, deadline)
          .IgnoreError();
    });
    const absl::Status status = requests[0]->Step(group->lead(0), kMaxTokens);
    peer.join();
    EXPECT_TRUE(status.GetPayload(engine::kGroupBrokenPayload)) << nonsense << ": " << status;
  }
}

}  // namespace
}  // namespace tessera::group
