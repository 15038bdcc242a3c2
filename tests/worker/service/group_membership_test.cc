#include "worker/service/group_membership.h"

#include <condition_variable>
#include <future>
#include <mutex>
#include <vector>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/worker/service/fake_group_service.h"

namespace tessera::worker {
namespace {

using ::testing::ElementsAre;
using testing::FakeGroupService;
using testing::MakeJoin;
using testing::MakeView;

// The epochs that a listener was told.
class Heard {
 public:
  GroupMembership::Listener Listener() {
    return [this](const v1::GroupView& view) {
      std::lock_guard lock(mutex_);
      epochs_.push_back(view.epoch());
      changed_.notify_all();
    };
  }
  // False after 20 s.
  bool WaitFor(uint64_t epoch) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20),
                             [&] { return !epochs_.empty() && epochs_.back() == epoch; });
  }
  std::vector<uint64_t> epochs() {
    std::lock_guard lock(mutex_);
    return epochs_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<uint64_t> epochs_;
};

TEST(GroupMembership, JoinsAndHearsEachEpoch) {
  FakeGroupService router;
  Heard heard;
  GroupMembership membership(router.address(), MakeJoin("a"), heard.Listener());
  ASSERT_TRUE(router.WaitUntil([](const auto& r) { return r.num_streams() == 1; }));
  EXPECT_EQ(router.joins()[0].worker_id(), "a");
  EXPECT_EQ(router.joins()[0].group(), "g");
  EXPECT_FALSE(router.joins()[0].has_current());
  router.Declare(MakeView(1, 1, {"a"}));
  ASSERT_TRUE(heard.WaitFor(1));
  router.Declare(MakeView(2, 1, {"a", "b"}));
  ASSERT_TRUE(heard.WaitFor(2));
  EXPECT_THAT(heard.epochs(), ElementsAre(1, 2));
  membership.Leave();
  EXPECT_TRUE(router.WaitUntil([](const auto& r) { return r.num_streams() == 0; }));
}

TEST(GroupMembership, ComesBackToARestartedRouterWithItsView) {
  auto router = std::make_unique<FakeGroupService>();
  const std::string address = router->address();
  Heard heard;
  GroupMembership membership(address, MakeJoin("a"), heard.Listener());
  router->Declare(MakeView(7, 1, {"a", "b"}));
  ASSERT_TRUE(heard.WaitFor(7));
  router.reset();
  router = std::make_unique<FakeGroupService>(address);
  ASSERT_TRUE(router->WaitUntil([](const auto& r) { return r.joins().size() == 1; }));
  EXPECT_EQ(router->joins()[0].current().epoch(), 7u);
  EXPECT_EQ(router->joins()[0].current().members_size(), 2);
  router->Declare(MakeView(8, 1, {"a"}));
  EXPECT_TRUE(heard.WaitFor(8));
}

TEST(GroupMembership, LeavesWithoutARouter) {
  GroupMembership membership("127.0.0.1:1", MakeJoin("a"), [](const v1::GroupView&) {});
  membership.Leave();
}

TEST(GroupMembership, GathersFromAllMembers) {
  FakeGroupService router;
  GroupMembership a(router.address(), MakeJoin("a"), [](const v1::GroupView&) {});
  GroupMembership b(router.address(), MakeJoin("b"), [](const v1::GroupView&) {});
  router.Declare(MakeView(3, 1, {"a", "b"}));
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  auto of_b = std::async(std::launch::async,
                         [&] { return b.RendezvousOf(3, 1)("round", "from b", deadline); });
  const auto of_a = a.RendezvousOf(3, 0)("round", "from a", deadline);
  ASSERT_TRUE(of_a.ok()) << of_a.status();
  EXPECT_THAT(*of_a, ElementsAre("from a", "from b"));
  EXPECT_EQ(*of_b.get(), *of_a);
}

TEST(GroupMembership, AnExchangeEndsWithItsEpochOrItsDeadline) {
  FakeGroupService router;
  GroupMembership a(router.address(), MakeJoin("a"), [](const v1::GroupView&) {});
  router.Declare(MakeView(3, 1, {"a", "b"}));
  EXPECT_EQ(a.RendezvousOf(3, 0)("alone", "", absl::Now() + absl::Milliseconds(50)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  auto waiting = std::async(std::launch::async, [&] {
    return a.RendezvousOf(3, 0)("alone", "", absl::Now() + absl::Seconds(20));
  });
  router.Declare(MakeView(4, 1, {"a"}));
  EXPECT_EQ(waiting.get().status().code(), absl::StatusCode::kAborted);
}

TEST(GroupMembership, ReportsASuspect) {
  FakeGroupService router;
  GroupMembership a(router.address(), MakeJoin("a"), [](const v1::GroupView&) {});
  a.ReportSuspect(5);
  ASSERT_EQ(router.suspects().size(), 1u);
  EXPECT_EQ(router.suspects()[0].worker_id(), "a");
  EXPECT_EQ(router.suspects()[0].epoch(), 5u);
}

}  // namespace
}  // namespace tessera::worker
