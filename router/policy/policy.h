// Placement as a pure function: a request's shape and a snapshot of the cluster in, a worker out.
// No clock, no lock, no state.
#ifndef TESSERA_ROUTER_POLICY_POLICY_H_
#define TESSERA_ROUTER_POLICY_POLICY_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "services/base/ids.h"

namespace tessera::router {

enum class WorkerRole { kBoth, kPrefill, kDecode };

// As a worker last reported it.
struct WorkerLoad {
  int64_t running_requests = 0;
  int64_t queued_requests = 0;
  int64_t max_queued_requests = 0;  // 0: not said, never full
  int64_t outstanding_tokens = 0;   // prompt rows to compute plus tokens still allowed
  int64_t kv_blocks_total = 0;
  int64_t kv_blocks_used = 0;
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
  std::string numerics;  // ranks that differ never serve one request
  int64_t started_at_ms = 0;  // Unix time; tells starts of the same id apart
};

// A live worker at one moment.
struct WorkerView {
  WorkerDescription description;
  WorkerLoad load;
  bool draining = false;
  // Placed since the last heartbeat, so not in `load` yet.
  int64_t reserved_requests = 0;
  int64_t reserved_tokens = 0;
};

// Sorted by worker id.
struct ClusterSnapshot {
  uint64_t epoch = 0;
  std::vector<WorkerView> workers;
};

// All that placement needs to know of a request, nothing of its content.
struct RequestShape {
  std::string model_revision;
  int64_t prompt_tokens = 0;
  int64_t max_new_tokens = 0;
  std::string numerics;                    // empty: any
  std::vector<WorkerId> excluded_workers;  // these just failed this request
  int64_t tokens() const { return prompt_tokens + max_new_tokens; }
};

// The workers that may take the request, in the snapshot's order; pointers into `snapshot`.
// UNAVAILABLE: none; the message counts why: unknown cluster, other revision, draining, other
// numerics, excluded. RESOURCE_EXHAUSTED: the only ones left have full queues. Roles other than
// kBoth take part once prefill and decode are split.
absl::StatusOr<std::vector<const WorkerView*>> EligibleWorkers(const RequestShape& shape,
                                                               const ClusterSnapshot& snapshot);

// A policy picks among eligible workers (at least one). turn: a number that grows by one with each
// request.
using Policy = const WorkerView* (*)(const RequestShape& shape,
                                     absl::Span<const WorkerView* const> eligible, uint64_t turn);

// The fewest outstanding tokens, reservations included; ties: the fewest requests, then in turn.
const WorkerView* ChooseLeastTokens(const RequestShape& shape,
                                    absl::Span<const WorkerView* const> eligible, uint64_t turn);
// One after the other.
const WorkerView* ChooseRoundRobin(const RequestShape& shape,
                                   absl::Span<const WorkerView* const> eligible, uint64_t turn);

// "least_tokens" or "round_robin"; anything else is INVALID_ARGUMENT that names both.
absl::StatusOr<Policy> PolicyByName(std::string_view name);

}  // namespace tessera::router

#endif  // TESSERA_ROUTER_POLICY_POLICY_H_
