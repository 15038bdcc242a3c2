// What placement sees of the cluster and of a request: plain values, nothing of a prompt's content.
#ifndef TESSERA_ROUTER_POLICY_CLUSTER_H_
#define TESSERA_ROUTER_POLICY_CLUSTER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "services/base/ids.h"

namespace tessera::router {

enum class WorkerRole { kBoth, kPrefill, kDecode };

// As a worker last reported it.
struct WorkerLoad {
  int64_t running_requests = 0;
  int64_t queued_requests = 0;
  int64_t max_queued_requests = 0;  // 0: not said, never full
  int64_t outstanding_tokens = 0;   // prompt rows to compute plus tokens still allowed
  int64_t kv_blocks_total = 0;      // 0: not said, holds any request
  int64_t kv_blocks_used = 0;
  int64_t kv_blocks_cached = 0;
  uint64_t generated_tokens = 0;     // this and the next two: since the worker started
  uint64_t prompt_tokens = 0;        // computed
  uint64_t kv_leases_reclaimed = 0;  // of handed-over KV, after their deadline
  double expert_imbalance = 0;       // busiest rank's rows over the mean; 0: not known
};

// Where a rank stands in its group.
struct GroupPlace {
  std::string group;  // empty: a group of its own
  int64_t stages = 1;
  int64_t expert_ranks = 1;
  int64_t stage = 0;  // only ranks of stage 0 take requests
  int64_t expert_rank = 0;
  uint64_t epoch = 0;  // of the group; 0: it does not stand now
};

// What a worker says of itself when it registers.
struct WorkerDescription {
  WorkerId id;
  std::string address;  // host:port
  WorkerRole role = WorkerRole::kBoth;
  std::string model_revision;  // SHA-256, hexadecimal
  std::string model_name;
  int64_t context_tokens = 0;
  int64_t kv_block_size_tokens = 0;
  std::string numerics;       // ranks that differ never serve one request
  int64_t started_at_ms = 0;  // Unix time; tells starts of the same id apart
};

// A live worker at one moment.
struct WorkerView {
  WorkerDescription description;
  GroupPlace place;
  WorkerLoad load;
  bool draining = false;
  // Placed since the last heartbeat, so not in `load` yet.
  int64_t reserved_requests = 0;
  int64_t reserved_tokens = 0;
  // Leading tokens of the request at hand whose KV is in this worker's prefix cache, whole blocks.
  int64_t known_prefix_tokens = 0;
};

// Sorted by worker id.
struct ClusterSnapshot {
  uint64_t epoch = 0;
  std::vector<WorkerView> workers;
};

// All that placement needs to know of a request.
struct RequestShape {
  std::string model_revision;
  int64_t prompt_tokens = 0;
  int64_t max_new_tokens = 0;
  std::string numerics;                    // empty: any
  std::vector<WorkerId> excluded_workers;  // these just failed this request
  int64_t tokens() const { return prompt_tokens + max_new_tokens; }
};

}  // namespace tessera::router

#endif  // TESSERA_ROUTER_POLICY_CLUSTER_H_
