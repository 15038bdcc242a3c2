// Which workers can take a request, and if none can, why.
#ifndef TESSERA_ROUTER_POLICY_POOLS_H_
#define TESSERA_ROUTER_POLICY_POOLS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "router/policy/cluster.h"

namespace tessera::router {

// Why workers were left out, in the order of the checks: each is counted once.
struct Refusals {
  int64_t other_revision = 0;
  int64_t other_numerics = 0;
  int64_t later_stage = 0;
  int64_t too_small = 0;
  int64_t draining = 0;
  int64_t no_group = 0;
  int64_t excluded = 0;
  int64_t full = 0;
};

enum class PoolState {
  kServing,
  kAbsent,       // it has no workers at all
  kUnavailable,  // none can take the request now
  kFull,         // those that could have full queues
  kTooSmall,     // no worker's KV can ever hold the request
};

// The workers of one role.
struct Pool {
  int64_t size = 0;
  std::vector<const WorkerView*> eligible;  // in the snapshot's order
  Refusals refusals;

  PoolState state() const;
  // E.g. "1 with another model revision, 2 draining"; "no worker" for an absent pool.
  std::string WhyNot() const;
};

// Pointers into `snapshot`. Left out are workers of other roles (not counted) and those that a
// count of Refusals names.
Pool FindPool(WorkerRole role, const RequestShape& shape, const ClusterSnapshot& snapshot);

}  // namespace tessera::router

#endif  // TESSERA_ROUTER_POLICY_POOLS_H_
