#include "router/placement/expert_planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

namespace tessera::router {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::vector<int32_t> Used(const ExpertHolders& holders, int32_t ranks) {
  std::vector<int32_t> used(ranks, 0);
  for (const auto& of_expert : holders) {
    for (const int32_t rank : of_expert) ++used[rank];
  }
  return used;
}

// The least imbalance of all placements that the slots allow, by trying each set of ranks for each
// expert.
double BestImbalance(const ExpertPlanRequest& request) {
  const size_t experts = request.counts.size();
  ExpertHolders holders(experts);
  double best = 1e9;
  const auto try_from = [&](const auto& self, size_t expert) -> void {
    if (expert == experts) {
      best = std::min(best, Imbalance(request.counts, holders, request.ranks));
      return;
    }
    for (uint32_t set = 1; set < (1u << request.ranks); ++set) {
      holders[expert].clear();
      for (int32_t rank = 0; rank < request.ranks; ++rank) {
        if (set >> rank & 1) holders[expert].push_back(rank);
      }
      const std::vector<int32_t> used = Used(holders, request.ranks);
      if (*std::max_element(used.begin(), used.end()) <= request.slots_per_rank) {
        self(self, expert + 1);
      }
      holders[expert].clear();
    }
  };
  try_from(try_from, 0);
  return best;
}

void CheckInvariants(const ExpertPlanRequest& request, const ExpertHolders& plan) {
  ASSERT_THAT(plan, SizeIs(request.counts.size()));
  for (const std::vector<int32_t>& holders : plan) {
    ASSERT_FALSE(holders.empty());
    EXPECT_GE(holders.front(), 0);
    EXPECT_LT(holders.back(), request.ranks);
    EXPECT_TRUE(std::is_sorted(holders.begin(), holders.end()));
    EXPECT_EQ(std::adjacent_find(holders.begin(), holders.end()), holders.end());
  }
  for (const int32_t used : Used(plan, request.ranks)) EXPECT_LE(used, request.slots_per_rank);
}

ExpertPlanRequest RandomRequest(std::mt19937& random, int32_t max_experts, int32_t max_ranks) {
  ExpertPlanRequest request;
  const auto pick = [&](int32_t low, int32_t high) {
    return std::uniform_int_distribution<int32_t>(low, high)(random);
  };
  request.ranks = pick(1, max_ranks);
  const int32_t experts = pick(1, max_experts);
  request.slots_per_rank = (experts + request.ranks - 1) / request.ranks + pick(0, 2);
  for (int32_t e = 0; e < experts; ++e) {
    // Few hot ones and many cold ones, as routers of experts have them.
    request.counts.push_back(pick(0, 3) == 0 ? pick(0, 1000) : pick(0, 60));
  }
  return request;
}

TEST(ExpertPlannerTest, CopiesTheHottestExpert) {
  const auto plan = PlanExperts({{90, 10, 10, 10}, 3, 2, {}});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT((*plan)[0], ElementsAre(0, 1, 2)) << "two spare slots";
  EXPECT_DOUBLE_EQ(Imbalance({90, 10, 10, 10}, *plan, 3), 1.0);
}

TEST(ExpertPlannerTest, WithoutRowsNothingMoves) {
  const ExpertHolders current = {{1}, {0}, {1}, {0}};
  const auto plan = PlanExperts({{0, 0, 0, 0}, 2, 3, current});
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(*plan, current);
  EXPECT_EQ(ExpertMoves(current, *plan), 0);
}

TEST(ExpertPlannerTest, EqualLoadsKeepExpertsWhereTheyAre) {
  const ExpertHolders current = {{2}, {1}, {0}, {2}, {1}, {0}};
  const auto plan = PlanExperts({{50, 50, 50, 50, 50, 50}, 3, 2, current});
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(*plan, current);
}

TEST(ExpertPlannerTest, WithoutAPlacementSpreadsEvenly) {
  const auto plan = PlanExperts({std::vector<uint64_t>(8, 0), 4, 2, {}});
  ASSERT_TRUE(plan.ok());
  EXPECT_THAT(Used(*plan, 4), ElementsAre(2, 2, 2, 2));
}

TEST(ExpertPlannerTest, RefusesTooFewSlots) {
  EXPECT_THAT(PlanExperts({{1, 2, 3}, 2, 1, {}}).status().message(),
              HasSubstr("slots_per_rank: is 1, too few for 3 experts on 2 ranks"));
  EXPECT_THAT(PlanExperts({{1}, 0, 1, {}}).status().message(), HasSubstr("ranks: is 0"));
  EXPECT_THAT(PlanExperts({{1, 1}, 2, 1, {{0}}}).status().message(), HasSubstr("current: has 1"));
}

TEST(ExpertPlannerTest, KeepsItsPromisesForAnyCounts) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    ExpertPlanRequest request = RandomRequest(random, 40, 8);
    const auto plan = PlanExperts(request);
    ASSERT_TRUE(plan.ok()) << plan.status();
    CheckInvariants(request, *plan);
    EXPECT_EQ(*PlanExperts(request), *plan) << "the same plan each time";
    // From its own plan onwards it only moves what it must; the result is as good but for ties.
    request.current = *plan;
    const auto again = PlanExperts(request);
    ASSERT_TRUE(again.ok());
    CheckInvariants(request, *again);
  }
}

// List scheduling ends below twice the optimum: the rank that ends as the most loaded was the least
// loaded of those with room when it got its last and smallest copy. 2 % for ties on either side.
TEST(ExpertPlannerTest, StaysWithinTheGreedyBoundOfTheOptimum) {
  std::mt19937 random(2);
  double total_excess = 0;
  constexpr int kRounds = 150;
  for (int round = 0; round < kRounds; ++round) {
    const ExpertPlanRequest request = RandomRequest(random, 5, 3);
    const auto plan = PlanExperts(request);
    ASSERT_TRUE(plan.ok());
    const double planned = Imbalance(request.counts, *plan, request.ranks);
    const double best = BestImbalance(request);
    EXPECT_GE(planned, best - 1e-9);
    EXPECT_LE(planned, 2 * best + 0.02);
    total_excess += planned / best - 1;
  }
  EXPECT_LT(total_excess / kRounds, 0.1) << "on average it is far better than its bound";
}

TEST(ExpertPlannerTest, RebalancesOnlyWhenItPays) {
  EXPECT_FALSE(ShouldRebalance(1.1, 1.0, 1.2)) << "below the threshold";
  EXPECT_TRUE(ShouldRebalance(2.0, 1.1, 1.2));
  EXPECT_TRUE(ShouldRebalance(3.0, 2.0, 1.2)) << "half of the excess is gone";
  EXPECT_FALSE(ShouldRebalance(2.0, 1.9, 1.2)) << "hardly better";
}

TEST(ExpertPlannerTest, ImbalanceIsTheMostLoadedRankOverTheMean) {
  EXPECT_DOUBLE_EQ(Imbalance({30, 10}, {{0}, {1}}, 2), 1.5);
  EXPECT_DOUBLE_EQ(Imbalance({30, 10}, {{0, 1}, {1}}, 2), 1.25);
  EXPECT_DOUBLE_EQ(Imbalance({0, 0}, {{0}, {1}}, 2), 1.0);
  EXPECT_DOUBLE_EQ(Imbalance({8}, {{0}}, 4), 4.0);
}

}  // namespace
}  // namespace tessera::router
