#include "router/placement/expert_planner.h"

#include <algorithm>
#include <numeric>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"

namespace tessera::router {
namespace {

constexpr int32_t kMaxRanks = 64;
constexpr double kTie = 0.01;  // of the mean load of a rank

// One copy of an expert and the rows that it will get.
struct Copy {
  size_t expert = 0;
  double load = 0;
};

struct Rank {
  double load = 0;
  int32_t used = 0;
};

bool Holds(const ExpertHolders& holders, size_t expert, int32_t rank) {
  return expert < holders.size() &&
         std::binary_search(holders[expert].begin(), holders[expert].end(), rank);
}

absl::Status Check(const ExpertPlanRequest& request) {
  if (request.ranks < 1 || request.ranks > kMaxRanks) {
    return absl::InvalidArgumentError(
        absl::StrCat("ranks: is ", request.ranks, ", must be 1 to ", kMaxRanks));
  }
  const int64_t slots = int64_t{request.ranks} * request.slots_per_rank;
  if (request.slots_per_rank < 1 || slots < static_cast<int64_t>(request.counts.size())) {
    return absl::InvalidArgumentError(absl::StrCat("slots_per_rank: is ", request.slots_per_rank,
                                                   ", too few for ", request.counts.size(),
                                                   " experts on ", request.ranks, " ranks"));
  }
  if (!request.current.empty() && request.current.size() != request.counts.size()) {
    return absl::InvalidArgumentError(absl::StrCat("current: has ", request.current.size(),
                                                   " experts, must have ", request.counts.size()));
  }
  return absl::OkStatus();
}

// Spare slots go one by one to the expert whose copies have most to do.
std::vector<int32_t> CountCopies(const ExpertPlanRequest& request) {
  const std::vector<uint64_t>& counts = request.counts;
  std::vector<int32_t> copies(counts.size(), 1);
  // A rank holds an expert once, so more slots than experts are of no use.
  const int64_t slots = request.ranks * std::min<int64_t>(request.slots_per_rank, counts.size());
  for (auto spare = slots - static_cast<int64_t>(counts.size()); spare > 0; --spare) {
    size_t hottest = counts.size();
    double most = 0;
    for (size_t expert = 0; expert < counts.size(); ++expert) {
      const double load = static_cast<double>(counts[expert]) / copies[expert];
      if (copies[expert] < request.ranks && load > most) {
        hottest = expert;
        most = load;
      }
    }
    if (hottest == counts.size()) break;
    ++copies[hottest];
  }
  return copies;
}

std::vector<Copy> HeaviestFirst(const std::vector<uint64_t>& counts,
                                const std::vector<int32_t>& copies) {
  std::vector<Copy> result;
  for (size_t expert = 0; expert < counts.size(); ++expert) {
    const double load = static_cast<double>(counts[expert]) / copies[expert];
    result.insert(result.end(), copies[expert], Copy{expert, load});
  }
  std::stable_sort(result.begin(), result.end(),
                   [](const Copy& a, const Copy& b) { return a.load > b.load; });
  return result;
}

// -1: each rank is full or holds the expert already.
int32_t ChooseRank(const ExpertPlanRequest& request, const std::vector<Rank>& ranks,
                   const std::vector<int32_t>& taken, size_t expert, double tie) {
  const auto can_take = [&](int32_t rank) {
    return ranks[rank].used < request.slots_per_rank &&
           std::find(taken.begin(), taken.end(), rank) == taken.end();
  };
  double least = 0;
  bool found = false;
  for (int32_t rank = 0; rank < request.ranks; ++rank) {
    if (!can_take(rank)) continue;
    least = found ? std::min(least, ranks[rank].load) : ranks[rank].load;
    found = true;
  }
  int32_t best = -1;
  // Among those that tie: where it is now, then the least loaded, then the emptiest.
  const auto before = [&](int32_t a, int32_t b) {
    const bool stays_a = Holds(request.current, expert, a);
    const bool stays_b = Holds(request.current, expert, b);
    if (stays_a != stays_b) return stays_a;
    if (ranks[a].load != ranks[b].load) return ranks[a].load < ranks[b].load;
    return ranks[a].used < ranks[b].used;
  };
  for (int32_t rank = 0; rank < request.ranks; ++rank) {
    if (!can_take(rank) || ranks[rank].load > least + tie) continue;
    if (best < 0 || before(rank, best)) best = rank;
  }
  return best;
}

std::vector<double> Loads(const std::vector<uint64_t>& counts, const ExpertHolders& holders,
                          int32_t ranks) {
  std::vector<double> loads(ranks, 0.0);
  for (size_t expert = 0; expert < counts.size(); ++expert) {
    for (const int32_t rank : holders[expert]) {
      loads[rank] +=
          static_cast<double>(counts[expert]) / static_cast<double>(holders[expert].size());
    }
  }
  return loads;
}

}  // namespace

absl::StatusOr<ExpertHolders> PlanExperts(const ExpertPlanRequest& request) {
  TESSERA_RETURN_IF_ERROR(Check(request));
  const double rows = std::accumulate(request.counts.begin(), request.counts.end(), 0.0);
  const double tie = kTie * rows / request.ranks;
  ExpertHolders plan(request.counts.size());
  std::vector<Rank> ranks(request.ranks);
  for (const Copy& copy : HeaviestFirst(request.counts, CountCopies(request))) {
    const int32_t rank = ChooseRank(request, ranks, plan[copy.expert], copy.expert, tie);
    // There are as many slots as copies, so only a further copy can find all free ranks taken by
    // its own expert; it is not needed.
    if (rank < 0) continue;
    plan[copy.expert].push_back(rank);
    ranks[rank].load += copy.load;
    ++ranks[rank].used;
  }
  for (std::vector<int32_t>& holders : plan) std::sort(holders.begin(), holders.end());
  return plan;
}

double Imbalance(const std::vector<uint64_t>& counts, const ExpertHolders& holders, int32_t ranks) {
  const std::vector<double> loads = Loads(counts, holders, ranks);
  const double rows = std::accumulate(counts.begin(), counts.end(), 0.0);
  if (rows == 0 || loads.empty()) return 1;
  return std::max(1.0, *std::max_element(loads.begin(), loads.end()) * ranks / rows);
}

bool ShouldRebalance(double current, double planned, double threshold) {
  return current > threshold && planned <= std::max(threshold, (current + threshold) / 2);
}

int64_t ExpertMoves(const ExpertHolders& from, const ExpertHolders& to) {
  int64_t moves = 0;
  for (size_t expert = 0; expert < to.size(); ++expert) {
    for (const int32_t rank : to[expert]) moves += Holds(from, expert, rank) ? 0 : 1;
  }
  return moves;
}

}  // namespace tessera::router
