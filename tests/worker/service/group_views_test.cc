#include "worker/service/group_views.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tessera::worker {
namespace {

using ::testing::ElementsAre;

// Two stages of two columns: members a b / c d, all started at 1.
v1::GroupView View() {
  v1::GroupView view;
  view.set_group("g");
  view.set_epoch(3);
  view.set_stages(2);
  view.set_columns(2);
  for (const char* id : {"a", "b", "c", "d"}) {
    v1::GroupMember& member = *view.add_members();
    member.set_worker_id(id);
    member.set_address(std::string("host-") + id);
    member.set_started_at_ms(1);
  }
  return view;
}

TEST(GroupViews, FindsPlaces) {
  const auto place = PlaceOf(View(), {"d", 1});
  ASSERT_TRUE(place.ok() && place->has_value());
  EXPECT_EQ((*place)->stage, 1);
  EXPECT_EQ((*place)->column, 1);
  EXPECT_FALSE(PlaceOf(View(), {"d", 2})->has_value());  // another start
  EXPECT_FALSE(PlaceOf(View(), {"e", 1})->has_value());
  v1::GroupView odd = View();
  odd.mutable_members()->RemoveLast();
  EXPECT_EQ(PlaceOf(odd, {"a", 1}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(GroupViews, KnowsColumnsAndLeads) {
  EXPECT_THAT(ColumnOf(View(), 1), ElementsAre(MemberId{"b", 1}, MemberId{"d", 1}));
  EXPECT_THAT(ColumnAddresses(View(), 0), ElementsAre("host-a", "host-c"));
  EXPECT_THAT(OtherLeads(View(), 0), ElementsAre("host-b"));
}

TEST(GroupViews, TellsEpochsApart) {
  EXPECT_TRUE(SameEpoch(View(), View()));
  v1::GroupView other = View();
  other.set_epoch(4);
  EXPECT_FALSE(SameEpoch(View(), other));
  other = View();
  other.mutable_members(2)->set_started_at_ms(9);
  EXPECT_FALSE(SameEpoch(View(), other));
}

TEST(GroupViews, PlacesExpertsEvenlyExceptWhereTold) {
  v1::GroupView view = View();
  v1::LayerPlacement& layer = *view.add_placement();
  layer.set_layer(5);
  for (int expert = 0; expert < 4; ++expert) {
    v1::ExpertHolders& holders = *layer.add_experts();
    if (expert == 2) holders.add_columns(0);
    holders.add_columns(1);
  }
  const auto placement = PlacementOf(view, 4, {4, 4, 0});
  ASSERT_TRUE(placement.ok()) << placement.status();
  EXPECT_EQ(placement->holders[0], group::EvenPlacement({4}, 2).holders[0]);
  EXPECT_THAT(placement->holders[1],
              ElementsAre(ElementsAre(1), ElementsAre(1), ElementsAre(0, 1), ElementsAre(1)));
  EXPECT_TRUE(placement->holders[2].empty());
  // Of another stage.
  EXPECT_EQ(*PlacementOf(view, 0, {4, 4}), group::EvenPlacement({4, 4}, 2));
  layer.mutable_experts(0)->set_columns(0, 2);
  EXPECT_EQ(PlacementOf(view, 4, {4, 4, 0}).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tessera::worker
