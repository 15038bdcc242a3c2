// Ranks as threads: a fake router declares views, communicators are in-process ones.
#include "worker/service/group_session.h"

#include <atomic>
#include <condition_variable>
#include <functional>
#include <future>
#include <map>
#include <mutex>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/worker/service/fake_group_service.h"

namespace tessera::worker {
namespace {

using engine::Reformed;
using testing::FakeGroupService;
using testing::MakeJoin;
using testing::MakeView;

class FakeRank final : public group::GroupRank {
 public:
  absl::Status Enter(group::GroupEpoch epoch) override {
    std::lock_guard lock(mutex);
    entered = std::move(epoch);
    aborted = false;
    return refuse ? absl::InternalError("no such expert") : absl::OkStatus();
  }
  void Abort() override {
    std::lock_guard lock(mutex);
    aborted = true;
    if (entered.all) entered.all->Abort();
    if (entered.stage) entered.stage->Abort();
  }
  group::ExpertCounts TakeExpertCounts() override { return {}; }

  std::mutex mutex;
  group::GroupEpoch entered;
  bool aborted = false;
  std::atomic<bool> refuse{false};
};

// Hands out the ends of in-process communicators by what the ranks agree on in their rendezvous.
class Exchange {
 public:
  absl::StatusOr<std::unique_ptr<transport::Communicator>> Connect(
      std::string_view, const transport::ConnectOptions& options) {
    std::string name;
    {
      std::lock_guard lock(mutex_);
      name = absl::StrCat("set ", next_++);
    }
    auto names = options.rendezvous(options.round, name, options.deadline);
    if (!names.ok()) return names.status();
    std::lock_guard lock(mutex_);
    auto& set = sets_[(*names)[0]];
    if (set.empty()) set = transport::MakeInProcess(options.size);
    return std::move(set[static_cast<size_t>(options.rank)]);
  }

 private:
  std::mutex mutex_;
  int next_ = 0;
  std::map<std::string, std::vector<std::unique_ptr<transport::Communicator>>> sets_;
};

struct Rank {
  Rank(const std::string& id, const std::string& router, Exchange& exchange) {
    GroupSessionOptions options;
    options.router_address = router;
    options.self = MakeJoin(id);
    options.experts_of_layer = {0, 4};
    options.connect = [&exchange](std::string_view back_end,
                                  const transport::ConnectOptions& connect) {
      return exchange.Connect(back_end, connect);
    };
    session = std::make_unique<GroupSession>(
        rank, std::move(options), GroupSessionHooks{[this] { ++changes; }, [this] { ++wakes; }});
    session->Join();
  }
  std::future<Reformed> Reform() {
    return std::async(std::launch::async,
                      [this] { return session->Reform(absl::Now() + absl::Seconds(20)); });
  }

  FakeRank rank;
  std::atomic<int> changes{0};
  std::atomic<int> wakes{0};
  std::unique_ptr<GroupSession> session;
};

// False after 20 s.
bool WaitFor(const std::function<bool()>& done) {
  const absl::Time limit = absl::Now() + absl::Seconds(20);
  while (!done()) {
    if (absl::Now() > limit) return false;
    std::this_thread::yield();
  }
  return true;
}

class GroupSessionTest : public ::testing::Test {
 protected:
  FakeGroupService router_;
  Exchange exchange_;
};

TEST_F(GroupSessionTest, EntersTheEpochThatListsIt) {
  Rank a("a", router_.address(), exchange_);
  Rank b("b", router_.address(), exchange_);
  EXPECT_EQ(a.session->standing_epoch(), 0u);
  router_.Declare(MakeView(4, 1, {"a", "b"}));
  auto of_b = b.Reform();
  EXPECT_EQ(a.Reform().get(), Reformed::kSameKv);
  EXPECT_EQ(of_b.get(), Reformed::kSameKv);
  EXPECT_EQ(a.session->standing_epoch(), 4u);
  EXPECT_TRUE(WaitFor([&] { return a.wakes >= 1 && a.changes >= 2; }));  // the view, the epoch
  const group::GroupEpoch& epoch = b.rank.entered;
  EXPECT_EQ(epoch.number, 4u);
  EXPECT_EQ(epoch.shape.columns, 2);
  EXPECT_EQ(epoch.place.column, 1);
  EXPECT_EQ(epoch.all->rank(), 1);
  EXPECT_EQ(epoch.stage->size(), 2);
  EXPECT_EQ(epoch.placement, group::EvenPlacement({0, 4}, 2));
  EXPECT_FALSE(a.session->HasNews());
}

TEST_F(GroupSessionTest, StagesMeetAmongThemselves) {
  std::vector<std::unique_ptr<Rank>> ranks;
  for (const char* id : {"a", "b", "c", "d"}) {
    ranks.push_back(std::make_unique<Rank>(id, router_.address(), exchange_));
  }
  router_.Declare(MakeView(1, 2, {"a", "b", "c", "d"}));
  std::vector<std::future<Reformed>> results;
  for (const auto& rank : ranks) results.push_back(rank->Reform());
  for (auto& result : results) EXPECT_EQ(result.get(), Reformed::kSameKv);
  const group::GroupEpoch& last = ranks[3]->rank.entered;
  EXPECT_EQ(last.place.stage, 1);
  EXPECT_EQ(last.place.column, 1);
  EXPECT_EQ(last.all->rank(), 3);
  EXPECT_EQ(last.stage->rank(), 1);
  EXPECT_EQ(last.stage->size(), 2);
  // A column whose second stage is replaced has lost its KV; the other one has not.
  Rank e("e", router_.address(), exchange_);
  router_.Declare(MakeView(2, 2, {"a", "b", "c", "e"}));
  results.clear();
  for (int i : {0, 1, 2}) results.push_back(ranks[static_cast<size_t>(i)]->Reform());
  results.push_back(e.Reform());
  EXPECT_EQ(results[0].get(), Reformed::kSameKv);
  EXPECT_EQ(results[1].get(), Reformed::kLostKv);
  EXPECT_EQ(ranks[3]->Reform().get(), Reformed::kNotMember);
  EXPECT_EQ(ranks[3]->session->standing_epoch(), 0u);
}

TEST_F(GroupSessionTest, ANewViewEndsTheEpochAtOnce) {
  Rank a("a", router_.address(), exchange_);
  router_.Declare(MakeView(1, 1, {"a"}));
  ASSERT_EQ(a.Reform().get(), Reformed::kSameKv);
  EXPECT_EQ(a.rank.entered.all, nullptr);  // alone
  router_.Declare(MakeView(0, 1, {}));     // the group cannot stand
  ASSERT_TRUE(WaitFor([&] { return a.session->standing_epoch() == 0; }));
  auto waiting = a.Reform();
  router_.Declare(MakeView(2, 1, {"a"}));
  EXPECT_EQ(waiting.get(), Reformed::kSameKv);
  EXPECT_EQ(a.session->standing_epoch(), 2u);
  EXPECT_EQ(a.session->epochs_entered(), 2u);
}

TEST_F(GroupSessionTest, ABrokenEpochIsReportedUntilThereIsAnother) {
  Rank a("a", router_.address(), exchange_);
  router_.Declare(MakeView(1, 1, {"a"}));
  ASSERT_EQ(a.Reform().get(), Reformed::kSameKv);
  EXPECT_EQ(a.session->Reform(absl::Now()), Reformed::kNotYet);
  ASSERT_EQ(router_.suspects().size(), 1u);
  EXPECT_EQ(router_.suspects()[0].epoch(), 1u);
  auto waiting = a.Reform();
  ASSERT_TRUE(router_.WaitUntil([](const auto& r) { return r.suspects().size() >= 2; }));
  router_.Declare(MakeView(2, 1, {"a"}));
  EXPECT_EQ(waiting.get(), Reformed::kSameKv);
}

TEST_F(GroupSessionTest, WhatCannotBeEnteredIsTriedInTheNextEpoch) {
  Rank a("a", router_.address(), exchange_);
  a.rank.refuse = true;
  router_.Declare(MakeView(1, 1, {"a"}));
  auto waiting = a.Reform();
  ASSERT_TRUE(router_.WaitUntil([](const auto& r) { return !r.suspects().empty(); }));
  a.rank.refuse = false;
  router_.Declare(MakeView(2, 1, {"a"}));
  EXPECT_EQ(waiting.get(), Reformed::kSameKv);
  EXPECT_EQ(a.session->standing_epoch(), 2u);
}

TEST_F(GroupSessionTest, AMemberThatNeverComesDoesNotHoldTheOthersForEver) {
  Rank a("a", router_.address(), exchange_);
  router_.Declare(MakeView(1, 1, {"a", "gone"}));
  auto waiting = a.Reform();
  router_.Declare(MakeView(2, 1, {"a"}));
  EXPECT_EQ(waiting.get(), Reformed::kSameKv);
  EXPECT_EQ(a.session->standing_epoch(), 2u);
}

TEST_F(GroupSessionTest, LeavingEndsAWait) {
  Rank a("a", router_.address(), exchange_);
  auto waiting = a.Reform();
  a.session->Leave();
  EXPECT_EQ(waiting.get(), Reformed::kNotMember);
}

}  // namespace
}  // namespace tessera::worker
