#include "worker/service/expert_balance.h"

#include "gtest/gtest.h"

namespace tessera::worker {
namespace {

TEST(ExpertImbalance, IsTheBusiestOverTheMean) {
  const group::ExpertPlacement even = group::EvenPlacement({0, 4}, 2);  // 0 1 | 2 3
  EXPECT_EQ(ExpertImbalance({{}, {3, 3, 3, 3}}, even, 0, 2), 1);
  EXPECT_EQ(ExpertImbalance({{}, {9, 0, 3, 0}}, even, 0, 2), 1.5);
  EXPECT_EQ(ExpertImbalance({{}, {8, 0, 0, 0}}, even, 0, 2), 2);
  EXPECT_EQ(ExpertImbalance({{}, {0, 0, 0, 0}}, even, 0, 2), 0);
  EXPECT_EQ(ExpertImbalance({}, even, 0, 2), 0);
}

TEST(ExpertImbalance, WeighsLayersByTheirRows) {
  const group::ExpertPlacement even = group::EvenPlacement({2, 2}, 2);
  EXPECT_EQ(ExpertImbalance({{4, 0}, {6, 6}}, even, 1, 2), 10.0 / 8.0);
}

}  // namespace
}  // namespace tessera::worker
