// Placement as a pure function: a request's shape and a snapshot of the cluster in, a route out.
#ifndef TESSERA_ROUTER_POLICY_ROUTE_H_
#define TESSERA_ROUTER_POLICY_ROUTE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "router/policy/cluster.h"
#include "router/policy/policy.h"

namespace tessera::router {

// The rank that computes the prompt and the one that generates; the same one if its role is kBoth.
// They agree in model revision, numerics and KV block size.
struct Route {
  const WorkerView* prefill = nullptr;
  const WorkerView* decode = nullptr;
};

// Pointers into `snapshot`. The policy chooses among the ranks that do both and the prefill ranks
// for which there is a decode rank; the decode rank is then chosen by ChooseDecodeRank.
// UNAVAILABLE: no rank can take the request now; RESOURCE_EXHAUSTED: those that could have full
// queues; OUT_OF_RANGE: no rank's KV can ever hold it. The message counts why, by pool.
absl::StatusOr<Route> ChooseRoute(const RequestShape& shape, const ClusterSnapshot& snapshot,
                                  Policy policy, uint64_t turn);

}  // namespace tessera::router

#endif  // TESSERA_ROUTER_POLICY_ROUTE_H_
