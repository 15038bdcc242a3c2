#include "router/group/group_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/fake_clock.h"

namespace tessera::router {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr absl::Duration kFormTimeout = absl::Seconds(30);
constexpr absl::Duration kSettle = absl::Seconds(2);
constexpr absl::Duration kLease = absl::Seconds(5);

// Groups of 2 stages with 2 expert ranks: a, b in stage 0, x, y in stage 1.
class GroupTableTest : public ::testing::Test {
 protected:
  GroupJoin Rank(const std::string& id, int64_t started_at_ms = 1000) {
    GroupJoin join;
    join.worker_id = id;
    join.group = "g";
    join.stages = 2;
    join.expert_ranks = 2;
    join.stage = id == "x" || id == "y" ? 1 : 0;
    join.expert_rank = id == "b" || id == "y" ? 1 : 0;
    join.address = id + ":1";
    join.started_at_ms = started_at_ms;
    join.model_revision = "r1";
    join.numerics = "bf16";
    join.transport = "cpu";
    return join;
  }
  uint64_t Join(const GroupJoin& join) {
    const absl::StatusOr<uint64_t> ticket = table_->Join(join);
    EXPECT_TRUE(ticket.ok()) << ticket.status();
    return ticket.value_or(0);
  }
  uint64_t Join(const std::string& id, int64_t started_at_ms = 1000) {
    return Join(Rank(id, started_at_ms));
  }
  void JoinAll() {
    for (const char* id : {"a", "b", "x", "y"}) tickets_[id] = Join(id);
    ASSERT_THAT(Members(), ElementsAre("a", "b", "x", "y"));
    table_->TakeEvents();
  }
  std::vector<std::string> Members() {
    std::vector<std::string> ids;
    if (const GroupView* view = table_->View("g")) {
      for (const GroupMember& member : view->members) ids.push_back(member.worker_id);
    }
    return ids;
  }
  uint64_t Epoch() { return table_->View("g") == nullptr ? 0 : table_->View("g")->epoch; }
  void Pass(absl::Duration time) {
    clock_.Advance(time);
    table_->Expire(clock_.Now());
  }
  // Another router, whose clock may be behind.
  void Restart() { table_ = std::make_unique<GroupTable>(options_, clock_); }
  uint64_t Rejoin(const std::string& id, const GroupView& current, int64_t started_at_ms = 1000) {
    GroupJoin join = Rank(id, started_at_ms);
    join.current = current;
    return Join(join);
  }

  const GroupTableOptions options_{kFormTimeout, kSettle, kLease};
  testing::FakeClock clock_;
  std::unique_ptr<GroupTable> table_ = std::make_unique<GroupTable>(options_, clock_);
  std::map<std::string, uint64_t> tickets_;
};

TEST_F(GroupTableTest, FormsWhenAllPlacesAreTaken) {
  for (const char* id : {"y", "x", "b"}) Join(id);
  EXPECT_EQ(table_->View("g"), nullptr);
  EXPECT_EQ(table_->NextExpiry(), clock_.Now() + kFormTimeout);
  EXPECT_THAT(table_->TakeEvents().changed, IsEmpty());
  Join("a");
  EXPECT_THAT(Members(), ElementsAre("a", "b", "x", "y"));
  EXPECT_EQ(table_->View("g")->columns, 2);
  EXPECT_GT(Epoch(), static_cast<uint64_t>(absl::ToUnixMillis(clock_.Now())));
  EXPECT_THAT(table_->TakeEvents().changed, ElementsAre("g"));
  EXPECT_EQ(table_->NextExpiry(), absl::InfiniteFuture());
}

TEST_F(GroupTableTest, FormsWithoutTheMissingAfterTheTimeout) {
  for (const char* id : {"a", "b", "y"}) Join(id);
  Pass(kFormTimeout - absl::Milliseconds(1));
  EXPECT_EQ(table_->View("g"), nullptr);
  Pass(absl::Milliseconds(1));
  EXPECT_THAT(Members(), ElementsAre("a", "y")) << "b waits";
  EXPECT_EQ(table_->Counts().waiting_members, 1);
  const uint64_t epoch = Epoch();
  Join("x");
  EXPECT_THAT(Members(), ElementsAre("a", "b", "y", "x")) << "a stays with y";
  EXPECT_GT(Epoch(), epoch);
}

TEST_F(GroupTableTest, ALateStageFormsTheGroupAtOnceAfterTheTimeout) {
  Join("a");
  Pass(2 * kFormTimeout);
  EXPECT_EQ(table_->View("g"), nullptr);
  EXPECT_EQ(table_->NextExpiry(), absl::InfiniteFuture()) << "only a join can help";
  Join("x");
  EXPECT_THAT(Members(), ElementsAre("a", "x"));
}

TEST_F(GroupTableTest, TheLossOfAnyMemberLeavesTheWholeColumns) {
  const std::map<std::string, std::vector<std::string>> left = {
      {"a", {"b", "y"}}, {"x", {"b", "y"}}, {"b", {"a", "x"}}, {"y", {"a", "x"}}};
  for (const auto& [lost, members] : left) {
    Restart();
    JoinAll();
    const uint64_t epoch = Epoch();
    table_->Leave(tickets_[lost]);
    EXPECT_EQ(Members(), members) << "without " << lost;
    EXPECT_EQ(table_->View("g")->columns, 1);
    EXPECT_GT(Epoch(), epoch);
    EXPECT_THAT(table_->TakeEvents().changed, ElementsAre("g"));
  }
}

TEST_F(GroupTableTest, SurvivorsOfTwoColumnsMakeOne) {
  JoinAll();
  table_->Leave(tickets_["a"]);
  table_->Leave(tickets_["y"]);
  EXPECT_THAT(Members(), ElementsAre("b", "x"));
}

TEST_F(GroupTableTest, AWaitingRankLeavesWithoutTrace) {
  JoinAll();
  table_->Leave(tickets_["a"]);
  const uint64_t epoch = Epoch();
  table_->TakeEvents();
  table_->Leave(tickets_["x"]);
  EXPECT_EQ(Epoch(), epoch);
  EXPECT_THAT(table_->TakeEvents().changed, IsEmpty());
}

TEST_F(GroupTableTest, CannotStandWithoutAStageAndStandsAgainAtOnce) {
  JoinAll();
  const uint64_t epoch = Epoch();
  table_->Leave(tickets_["x"]);
  table_->Leave(tickets_["y"]);
  ASSERT_NE(table_->View("g"), nullptr);
  EXPECT_EQ(Epoch(), 0u);
  EXPECT_THAT(Members(), IsEmpty());
  EXPECT_THAT(table_->TakeEvents().changed, ElementsAre("g"));
  Join("y", 2000);
  EXPECT_THAT(Members(), ElementsAre("a", "y"));
  EXPECT_GT(Epoch(), epoch);
}

TEST_F(GroupTableTest, ARankComesBack) {
  JoinAll();
  table_->Leave(tickets_["x"]);
  const uint64_t epoch = Epoch();
  Join("x");
  EXPECT_THAT(Members(), ElementsAre("b", "a", "y", "x")) << "b-y kept its number";
  EXPECT_GT(Epoch(), epoch);
  table_->Leave(tickets_["x"]);
  EXPECT_THAT(Members(), SizeIs(4)) << "its earlier ticket means nothing";
}

TEST_F(GroupTableTest, ALaterStartTakesThePlace) {
  JoinAll();
  const uint64_t epoch = Epoch();
  EXPECT_TRUE(absl::IsAlreadyExists(table_->Join(Rank("a", 999)).status()));
  GroupJoin other = Rank("a", 1000);
  other.worker_id = "c";
  EXPECT_TRUE(absl::IsAlreadyExists(table_->Join(other).status())) << "not later";
  EXPECT_EQ(Epoch(), epoch);
  other.started_at_ms = 1001;
  Join(other);
  EXPECT_THAT(Members(), ElementsAre("c", "b", "x", "y"));
  EXPECT_GT(Epoch(), epoch);
  const GroupEvents events = table_->TakeEvents();
  ASSERT_THAT(events.ended, SizeIs(1));
  EXPECT_EQ(events.ended[0].ticket, tickets_["a"]);
  Join("b", 3000);
  EXPECT_EQ(table_->View("g")->members[1].started_at_ms, 3000) << "the same id, restarted";
}

TEST_F(GroupTableTest, TheSameStartGoesOnIfItIsInTheView) {
  JoinAll();
  const uint64_t epoch = Epoch();
  const uint64_t again = Rejoin("a", *table_->View("g"));
  EXPECT_EQ(Epoch(), epoch);
  const GroupEvents events = table_->TakeEvents();
  ASSERT_THAT(events.ended, SizeIs(1));
  EXPECT_EQ(events.ended[0].ticket, tickets_["a"]);
  table_->Leave(tickets_["a"]);
  EXPECT_EQ(Epoch(), epoch) << "the call that was replaced has ended";
  table_->Leave(again);
  EXPECT_THAT(Members(), ElementsAre("b", "y"));
}

TEST_F(GroupTableTest, TheSameStartWithoutItsViewMakesAnEpoch) {
  JoinAll();
  const uint64_t epoch = Epoch();
  Join("a");
  EXPECT_GT(Epoch(), epoch) << "the others must meet it anew";
  EXPECT_THAT(Members(), ElementsAre("a", "b", "x", "y"));
}

TEST_F(GroupTableTest, MembersMustAgree) {
  Join("a");
  const auto refused = [&](void (*change)(GroupJoin&)) {
    GroupJoin join = Rank("b");
    change(join);
    const absl::Status status = table_->Join(join).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    return std::string(status.message());
  };
  EXPECT_EQ(refused([](GroupJoin& join) { join.stages = 3; }),
            "stages: is 3, but the group's members have 2");
  EXPECT_EQ(refused([](GroupJoin& join) { join.expert_ranks = 4; }),
            "expert_ranks: is 4, but the group's members have 2");
  EXPECT_EQ(refused([](GroupJoin& join) { join.model_revision = "r2"; }),
            "model_revision: is r2, but the group's members have r1");
  EXPECT_THAT(refused([](GroupJoin& join) { join.numerics = "f32"; }), HasSubstr("numerics"));
  EXPECT_THAT(refused([](GroupJoin& join) { join.transport = "nccl"; }), HasSubstr("transport"));
  EXPECT_EQ(refused([](GroupJoin& join) { join.stage = 2; }), "stage: is 2, must be 0 to 1");
  EXPECT_THAT(refused([](GroupJoin& join) { join.expert_rank = -1; }), HasSubstr("expert_rank"));
  EXPECT_THAT(refused([](GroupJoin& join) { join.expert_ranks = 33; }),
              HasSubstr("expert_ranks: is 33, must be 1 to 32"));
  EXPECT_THAT(refused([](GroupJoin& join) { join.worker_id.clear(); }), HasSubstr("worker_id"));
  EXPECT_THAT(refused([](GroupJoin& join) { join.group = std::string(65, 'g'); }),
              HasSubstr("group: has 65 bytes"));
}

TEST_F(GroupTableTest, AGroupWithoutMembersIsForgottenButItsEpochIsNot) {
  JoinAll();
  const uint64_t epoch = Epoch();
  for (const auto& [id, ticket] : tickets_) table_->Leave(ticket);
  EXPECT_EQ(table_->View("g"), nullptr);
  for (const char* id : {"a", "b", "x", "y"}) {
    GroupJoin join = Rank(id);
    join.model_revision = "r2";
    Join(join);
  }
  EXPECT_GT(Epoch(), epoch);
}

TEST_F(GroupTableTest, ASilentMemberIsGoneAfterItsLease) {
  JoinAll();
  Pass(2 * kLease);
  EXPECT_THAT(Members(), SizeIs(4)) << "without heartbeats only the calls count";
  for (const char* id : {"a", "b", "x", "y"}) table_->Touch(id, clock_.Now());
  EXPECT_EQ(table_->NextExpiry(), clock_.Now() + kLease);
  Pass(kLease - absl::Milliseconds(1));
  for (const char* id : {"a", "b", "y"}) table_->Touch(id, clock_.Now());
  Pass(absl::Milliseconds(1));
  EXPECT_THAT(Members(), ElementsAre("b", "y"));
  const GroupEvents events = table_->TakeEvents();
  ASSERT_THAT(events.ended, SizeIs(1));
  EXPECT_EQ(events.ended[0].ticket, tickets_["x"]);
  EXPECT_TRUE(absl::IsUnavailable(events.ended[0].reason));
  Join("x");
  table_->Touch("x", clock_.Now() - kLease);
  Pass(absl::Milliseconds(1));
  EXPECT_THAT(Members(), SizeIs(4)) << "what was heard before it joined again starts no lease";
}

TEST_F(GroupTableTest, ASuspicionThatNobodyExplainsMakesAnEpoch) {
  JoinAll();
  const uint64_t epoch = Epoch();
  EXPECT_FALSE(table_->Suspect("g", epoch - 1, "a"));
  EXPECT_FALSE(table_->Suspect("g", epoch, "stranger"));
  EXPECT_FALSE(table_->Suspect("h", epoch, "a"));
  EXPECT_TRUE(table_->Suspect("g", epoch, "a"));
  Pass(kLease - absl::Milliseconds(1));
  EXPECT_TRUE(table_->Suspect("g", epoch, "b")) << "does not put it off";
  EXPECT_EQ(Epoch(), epoch);
  Pass(absl::Milliseconds(1));
  EXPECT_GT(Epoch(), epoch);
  EXPECT_THAT(Members(), SizeIs(4));
  EXPECT_EQ(table_->NextExpiry(), absl::InfiniteFuture());
}

TEST_F(GroupTableTest, ARestartedRouterAdoptsTheView) {
  JoinAll();
  const GroupView view = *table_->View("g");
  Restart();
  for (const char* id : {"y", "a", "b"}) Rejoin(id, view);
  EXPECT_EQ(table_->View("g"), nullptr);
  Pass(kSettle - absl::Milliseconds(1));
  Rejoin("x", view);
  ASSERT_NE(table_->View("g"), nullptr);
  EXPECT_EQ(*table_->View("g"), view);
  EXPECT_EQ(table_->declared_epochs(), 0u);
  Pass(2 * kFormTimeout);
  EXPECT_EQ(Epoch(), view.epoch);
}

TEST_F(GroupTableTest, ARestartedRouterAdoptsAViewOfSurvivors) {
  JoinAll();
  tickets_.erase("a");
  table_->Leave(1);
  const GroupView view = *table_->View("g");
  ASSERT_EQ(view.columns, 1);
  Restart();
  for (const char* id : {"x", "b", "y"}) Rejoin(id, view);
  EXPECT_EQ(*table_->View("g"), view) << "x waits as before";
  Join("a", 2000);
  EXPECT_THAT(Members(), ElementsAre("b", "a", "y", "x"));
  EXPECT_GT(Epoch(), view.epoch);
}

TEST_F(GroupTableTest, ARestartedRouterGivesUpTheMissingAfterSettling) {
  JoinAll();
  GroupView view = *table_->View("g");
  view.epoch += 1'000'000'000'000;  // the clock was set back meanwhile
  Restart();
  for (const char* id : {"b", "x", "y"}) Rejoin(id, view);
  EXPECT_EQ(table_->NextExpiry(), clock_.Now() + kSettle);
  Pass(kSettle);
  EXPECT_THAT(Members(), ElementsAre("b", "y")) << "b-y stayed together";
  EXPECT_GT(Epoch(), view.epoch);
}

TEST_F(GroupTableTest, ARestartedRankIsNotTheMemberOfTheView) {
  JoinAll();
  const GroupView view = *table_->View("g");
  Restart();
  for (const char* id : {"a", "x", "y"}) Rejoin(id, view);
  Join("b", 2000);
  EXPECT_THAT(Members(), ElementsAre("a", "b", "x", "y")) << "all places are taken";
  EXPECT_GT(Epoch(), view.epoch);
}

TEST_F(GroupTableTest, SettlingWithoutAStageTellsThatTheEpochIsOver) {
  JoinAll();
  const GroupView view = *table_->View("g");
  Restart();
  for (const char* id : {"a", "b"}) Rejoin(id, view);
  Pass(kSettle);
  ASSERT_NE(table_->View("g"), nullptr);
  EXPECT_EQ(Epoch(), 0u);
  Rejoin("y", view);
  EXPECT_THAT(Members(), ElementsAre("a", "y"));
  EXPECT_GT(Epoch(), view.epoch);
}

TEST_F(GroupTableTest, APlacementMakesAnEpochAndGoesWithItsColumns) {
  EXPECT_TRUE(absl::IsFailedPrecondition(table_->SetPlacement("g", {})));
  JoinAll();
  uint64_t epoch = Epoch();
  const std::vector<LayerPlacement> placement = {{1, {{0}, {0, 1}}}, {3, {{1}, {0}}}};
  ASSERT_TRUE(table_->SetPlacement("g", placement).ok());
  EXPECT_GT(Epoch(), epoch);
  EXPECT_EQ(table_->View("g")->placement, placement);
  EXPECT_THAT(Members(), SizeIs(4));
  epoch = Epoch();
  ASSERT_TRUE(table_->SetPlacement("g", placement).ok());
  EXPECT_EQ(Epoch(), epoch) << "nothing changes";
  Join("a", 2000);
  EXPECT_EQ(table_->View("g")->placement, placement) << "as many columns as before";
  table_->Leave(tickets_["y"]);
  EXPECT_THAT(table_->View("g")->placement, IsEmpty());
  for (const std::vector<LayerPlacement>& bad : std::vector<std::vector<LayerPlacement>>{
           {{1, {{1}}}}, {{1, {{}}}}, {{1, {{-1}}}}, {{1, {{0, 0}}}}, {{1, {{0}}}, {1, {{0}}}}}) {
    EXPECT_TRUE(absl::IsInvalidArgument(table_->SetPlacement("g", bad)));
  }
}

}  // namespace
}  // namespace tessera::router
