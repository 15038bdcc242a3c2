// What `tessera top` shows at one moment, and its sums.
#ifndef TESSERA_SERVICES_CLI_TOP_CLUSTER_FRAME_H_
#define TESSERA_SERVICES_CLI_TOP_CLUSTER_FRAME_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/cli/top/token_rates.h"
#include "tessera/v1/router.pb.h"

namespace tessera::cli {

struct ClusterFrame {
  std::string router;   // host:port that was asked
  absl::Time time;      // of this frame
  absl::Status status;  // of the last call
  // The last view that came, and when; without a call that succeeded, empty and InfinitePast.
  v1::Cluster cluster;
  absl::Time cluster_time = absl::InfinitePast();
  TokenRates rates;
};

// Ranks of one role, or of the whole cluster.
struct PoolSummary {
  std::string role;    // "both", "prefill", "decode"; "all" for the cluster
  int64_t groups = 0;  // a rank without a group is one of its own
  int64_t ranks = 0;
  int64_t ready_ranks = 0;
  // Of the ranks that take requests, those of stage 0.
  int64_t running_requests = 0;
  int64_t queued_requests = 0;
  std::optional<TokenRate> rate;  // of those whose rate is known
  // Of all ranks.
  int64_t kv_blocks_total = 0;
  int64_t kv_blocks_used = 0;
  int64_t kv_blocks_cached = 0;
  uint64_t kv_leases_reclaimed = 0;
};

enum class RankState { kReady, kDraining, kWaiting };  // waiting: its group is in no epoch

RankState StateOf(const v1::ClusterWorker& rank);
std::string StateName(RankState state);         // "ready", "draining", "waiting"
std::string RoleName(v1::WorkerRole role);      // "both", "prefill", "decode"; "?" for others
bool IsInGroup(const v1::ClusterWorker& rank);  // a named group or one of several ranks

// One per role that has ranks, in the order prefill, decode, both, and "all" at the end.
std::vector<PoolSummary> SummarizePools(const ClusterFrame& frame);

// The ranks by role, group, stage, expert rank and id; they live as long as the frame.
std::vector<const v1::ClusterWorker*> SortedRanks(const ClusterFrame& frame);

}  // namespace tessera::cli

#endif  // TESSERA_SERVICES_CLI_TOP_CLUSTER_FRAME_H_
