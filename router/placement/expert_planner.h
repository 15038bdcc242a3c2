// Where the experts of one layer should live, after the published idea of redundant experts (EPLB):
// the hottest get replicas, the heaviest are placed first on the least loaded rank. Pure.
#ifndef TESSERA_ROUTER_PLACEMENT_EXPERT_PLANNER_H_
#define TESSERA_ROUTER_PLACEMENT_EXPERT_PLANNER_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"

namespace tessera::router {

// By expert: the ranks (columns) that hold it, ascending, at least one.
using ExpertHolders = std::vector<std::vector<int32_t>>;

struct ExpertPlanRequest {
  std::vector<uint64_t> counts;  // by expert: rows routed to it
  int32_t ranks = 1;
  int32_t slots_per_rank = 1;  // experts that one rank can hold; ranks * slots hold all experts
  ExpertHolders current;       // where they live now; empty: nowhere
};

// Deterministic. Each expert gets at least one rank and never the same one twice; with spare slots
// the most loaded ones get more, unless nothing is routed to them. An expert stays where it is if
// that rank is loaded at most 1 % of the mean more than the least loaded one.
// INVALID_ARGUMENT: too few slots, ranks outside [1, 64], current of another size.
absl::StatusOr<ExpertHolders> PlanExperts(const ExpertPlanRequest& request);

// Rows of the most loaded rank over the mean of all ranks, if the rows of an expert are spread
// evenly over its holders; at least 1. 1 as well if there are no rows. holders: one entry per
// count, ranks below `ranks`.
double Imbalance(const std::vector<uint64_t>& counts, const ExpertHolders& holders, int32_t ranks);

// Whether a move pays: the imbalance is above the threshold (at least 1), and the plan takes away
// at least half of what is above it, or all.
bool ShouldRebalance(double current, double planned, double threshold);

// Copies of experts that a rank has to load to get from one placement to the other.
int64_t ExpertMoves(const ExpertHolders& from, const ExpertHolders& to);

}  // namespace tessera::router

#endif  // TESSERA_ROUTER_PLACEMENT_EXPERT_PLANNER_H_
