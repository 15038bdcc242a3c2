#include "router/group/columns.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

namespace tessera::router {
namespace {

GroupMember Rank(const std::string& id) { return {id, id + ":1", 1}; }

std::vector<GroupMember> Ranks(const std::vector<std::string>& ids) {
  std::vector<GroupMember> ranks;
  for (const std::string& id : ids) ranks.push_back(Rank(id));
  return ranks;
}

GroupView ViewOf(int32_t stages, const std::vector<std::string>& ids) {
  GroupView view;
  view.stages = stages;
  view.columns = static_cast<int32_t>(ids.size()) / stages;
  view.members = Ranks(ids);
  return view;
}

TEST(ColumnsTest, FirstPairsInOrder) {
  const Columns columns = ArrangeColumns({}, {Ranks({"a", "b"}), Ranks({"x", "y", "z"})});
  EXPECT_EQ(columns.columns, 2);
  EXPECT_EQ(columns.members, Ranks({"a", "b", "x", "y"}));
}

TEST(ColumnsTest, WholeColumnsStayTogetherAndKeepTheirNumber) {
  const GroupView before = ViewOf(2, {"a", "b", "c", "x", "y", "z"});
  const Columns columns = ArrangeColumns(before, {Ranks({"a", "c"}), Ranks({"x", "y", "z"})});
  EXPECT_EQ(columns.columns, 2);
  EXPECT_EQ(columns.members, Ranks({"a", "c", "x", "z"})) << "c and z moved to number 1";
}

TEST(ColumnsTest, SurvivorsOfBrokenColumnsArePaired) {
  const GroupView before = ViewOf(2, {"a", "b", "c", "x", "y", "z"});
  const Columns columns = ArrangeColumns(before, {Ranks({"b", "c"}), Ranks({"x", "z"})});
  EXPECT_EQ(columns.members, Ranks({"c", "b", "z", "x"})) << "c-z is whole, b gets x";
}

TEST(ColumnsTest, AStageWithoutRanksMeansNoColumns) {
  const Columns columns = ArrangeColumns(ViewOf(2, {"a", "x"}), {Ranks({"a"}), {}});
  EXPECT_EQ(columns.columns, 0);
  EXPECT_TRUE(columns.members.empty());
}

TEST(ColumnsTest, AnyLossKeepsWholeColumnsAndListsNobodyTwice) {
  std::mt19937 random(3);
  for (int round = 0; round < 2000; ++round) {
    const int32_t stages = 1 + static_cast<int32_t>(random() % 3);
    const int32_t count = 1 + static_cast<int32_t>(random() % 5);
    GroupView before;
    before.stages = stages;
    before.columns = count;
    std::vector<std::vector<GroupMember>> live(stages);
    for (int32_t s = 0; s < stages; ++s) {
      for (int32_t c = 0; c < count; ++c) {
        before.members.push_back(Rank(std::to_string(s) + "." + std::to_string(c)));
        if (random() % 3 != 0) live[s].push_back(before.members.back());
      }
      if (random() % 4 == 0) live[s].push_back(Rank(std::to_string(s) + ".new"));
    }
    const Columns after = ArrangeColumns(before, live);
    std::set<std::string> listed;
    for (const GroupMember& member : after.members) listed.insert(member.worker_id);
    ASSERT_EQ(listed.size(), static_cast<size_t>(stages) * after.columns);
    for (int32_t c = 0; c < count; ++c) {
      size_t together = 0;
      size_t alive = 0;
      for (int32_t s = 0; s < stages; ++s) {
        const GroupMember& member = before.members[s * count + c];
        alive += std::count(live[s].begin(), live[s].end(), member);
      }
      for (int32_t n = 0; n < after.columns; ++n) {
        size_t same = 0;
        for (int32_t s = 0; s < stages; ++s) {
          same += after.members[s * after.columns + n] == before.members[s * count + c];
        }
        together = std::max(together, same);
      }
      if (alive == static_cast<size_t>(stages)) {
        EXPECT_EQ(together, alive);
      }
    }
  }
}

}  // namespace
}  // namespace tessera::router
