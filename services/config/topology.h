// The layout of a local cluster as people write it: which pools of ranks, and how each is cut.
#ifndef TESSERA_SERVICES_CONFIG_TOPOLOGY_H_
#define TESSERA_SERVICES_CONFIG_TOPOLOGY_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/config/config.h"

namespace tessera::config {

inline constexpr int64_t kMaxRanks = 64;  // of a group, and of all pools together

// POOL(,POOL)*; POOL = [ROLE=]STAGESxEXPERT_RANKS[*GROUPS]; ROLE = both (the default), prefill or
// decode: "2x2", "prefill=1x2,decode=1x2", "both=1x2*2". Blanks around the text are fine, inside it
// they are not. INVALID_ARGUMENT: the position (from 1) and what was expected there, or what
// CheckTopology says of the pools. An empty text is an error too.
absl::StatusOr<std::vector<PoolSettings>> ParseTopology(std::string_view text);

// The shortest text that ParseTopology reads back; empty for no pools.
std::string FormatTopology(const std::vector<PoolSettings>& pools);

// Ranks of all pools. The numbers of each pool are in [1, kMaxRanks].
int64_t TopologyRanks(const std::vector<PoolSettings>& pools);

// INVALID_ARGUMENT: a role or number out of range, more than kMaxRanks ranks in all, or a pool of
// prefill without one of decode or the reverse. No pools at all are fine.
absl::Status CheckTopology(const std::vector<PoolSettings>& pools);

// What `tessera serve` starts: config.topology, or config.num_workers groups of one rank each.
std::vector<PoolSettings> PoolsOf(const ClusterConfig& config);

}  // namespace tessera::config

#endif  // TESSERA_SERVICES_CONFIG_TOPOLOGY_H_
