#include "services/cli/top/cluster_frame.h"

#include <algorithm>
#include <set>
#include <tuple>

namespace tessera::cli {
namespace {

constexpr v1::WorkerRole kRoles[] = {v1::WORKER_ROLE_PREFILL, v1::WORKER_ROLE_DECODE,
                                     v1::WORKER_ROLE_BOTH};

void Add(const v1::ClusterWorker& rank, const TokenRates& rates, PoolSummary* pool) {
  const v1::WorkerLoad& load = rank.load();
  ++pool->ranks;
  pool->ready_ranks += StateOf(rank) == RankState::kReady ? 1 : 0;
  pool->kv_blocks_total += load.kv_blocks_total();
  pool->kv_blocks_used += load.kv_blocks_used();
  pool->kv_blocks_cached += load.kv_blocks_cached();
  pool->kv_leases_reclaimed += load.kv_leases_reclaimed();
  if (rank.place().stage() > 0) {
    return;  // later stages compute the same requests and tokens once more
  }
  pool->running_requests += load.running_requests();
  pool->queued_requests += load.queued_requests();
  if (const auto rate = rates.find(rank.worker_id()); rate != rates.end()) {
    if (!pool->rate.has_value()) {
      pool->rate.emplace();
    }
    pool->rate->prompt += rate->second.prompt;
    pool->rate->generated += rate->second.generated;
  }
}

// Of the ranks that `wanted` picks.
template <typename Wanted>
PoolSummary Summarize(const ClusterFrame& frame, std::string role, const Wanted& wanted) {
  PoolSummary pool;
  pool.role = std::move(role);
  std::set<std::string> named;
  for (const v1::ClusterWorker& rank : frame.cluster.workers()) {
    if (!wanted(rank)) {
      continue;
    }
    Add(rank, frame.rates, &pool);
    if (!IsInGroup(rank)) {
      ++pool.groups;
    } else if (named.insert(rank.place().group()).second) {
      ++pool.groups;
    }
  }
  return pool;
}

}  // namespace

bool IsInGroup(const v1::ClusterWorker& rank) { return !rank.place().group().empty(); }

RankState StateOf(const v1::ClusterWorker& rank) {
  if (rank.draining()) {
    return RankState::kDraining;
  }
  return IsInGroup(rank) && rank.place().epoch() == 0 ? RankState::kWaiting : RankState::kReady;
}

std::string StateName(RankState state) {
  switch (state) {
    case RankState::kReady:
      return "ready";
    case RankState::kDraining:
      return "draining";
    case RankState::kWaiting:
      return "waiting";
  }
  return "?";
}

std::string RoleName(v1::WorkerRole role) {
  switch (role) {
    case v1::WORKER_ROLE_BOTH:
      return "both";
    case v1::WORKER_ROLE_PREFILL:
      return "prefill";
    case v1::WORKER_ROLE_DECODE:
      return "decode";
    default:
      return "?";
  }
}

std::vector<PoolSummary> SummarizePools(const ClusterFrame& frame) {
  std::vector<PoolSummary> pools;
  for (const v1::WorkerRole role : kRoles) {
    PoolSummary pool = Summarize(frame, RoleName(role), [role](const v1::ClusterWorker& rank) {
      return rank.role() == role;
    });
    if (pool.ranks > 0) {
      pools.push_back(std::move(pool));
    }
  }
  pools.push_back(Summarize(frame, "all", [](const v1::ClusterWorker&) { return true; }));
  return pools;
}

std::vector<const v1::ClusterWorker*> SortedRanks(const ClusterFrame& frame) {
  std::vector<const v1::ClusterWorker*> ranks;
  for (const v1::ClusterWorker& rank : frame.cluster.workers()) {
    ranks.push_back(&rank);
  }
  const auto key = [](const v1::ClusterWorker& rank) {
    const auto role = std::find(std::begin(kRoles), std::end(kRoles), rank.role());
    return std::make_tuple(role - std::begin(kRoles), rank.place().group(), rank.place().stage(),
                           rank.place().expert_rank(), rank.worker_id());
  };
  std::sort(ranks.begin(), ranks.end(),
            [&](const auto* a, const auto* b) { return key(*a) < key(*b); });
  return ranks;
}

}  // namespace tessera::cli
