// The worker processes of a local cluster: one per rank.
#ifndef TESSERA_SERVICES_CLI_LOCAL_RANKS_H_
#define TESSERA_SERVICES_CLI_LOCAL_RANKS_H_

#include <string>
#include <vector>

#include "services/config/config.h"

namespace tessera::cli {

struct LocalRank {
  std::string member;           // what the supervisor calls it: "worker 0", "worker decode-0-s0e1"
  std::string id;               // worker.id
  std::string role;             // worker.role
  config::GroupSettings group;  // worker.group; no name for a group of one rank
};

// In the order pool, group, stage, expert rank; the same config gives the same ranks. Groups are
// numbered from 0 per role: "prefill-0", "decode-0", "decode-1". A rank of a topology is called
// after its group and its place there, "decode-0-s0e1", the only rank of a group after the group
// alone; without a topology the ids are "worker-0", "worker-1". A worker.id that is not empty
// stands in place of "worker", or before the group's name.
std::vector<LocalRank> LocalRanks(const config::ClusterConfig& config);

}  // namespace tessera::cli

#endif  // TESSERA_SERVICES_CLI_LOCAL_RANKS_H_
