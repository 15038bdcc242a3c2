#include "services/cli/local_ranks.h"

#include <cstdint>
#include <map>

#include "absl/strings/str_cat.h"
#include "services/config/topology.h"

namespace tessera::cli {
namespace {

// The ranks of one group of the topology.
void AppendGroup(const config::PoolSettings& pool, const std::string& group,
                 const std::string& id_prefix, std::vector<LocalRank>* ranks) {
  const bool single = pool.stages * pool.expert_ranks == 1;
  for (int64_t stage = 0; stage < pool.stages; ++stage) {
    for (int64_t expert_rank = 0; expert_rank < pool.expert_ranks; ++expert_rank) {
      const std::string name = single ? group : absl::StrCat(group, "-s", stage, "e", expert_rank);
      LocalRank& rank = ranks->emplace_back();
      rank.member = absl::StrCat("worker ", name);
      rank.id = absl::StrCat(id_prefix, id_prefix.empty() ? "" : "-", name);
      rank.role = pool.role;
      rank.group.name = single ? "" : group;
      rank.group.stages = pool.stages;
      rank.group.expert_ranks = pool.expert_ranks;
      rank.group.stage = stage;
      rank.group.expert_rank = expert_rank;
    }
  }
}

}  // namespace

std::vector<LocalRank> LocalRanks(const config::ClusterConfig& config) {
  const std::string& prefix = config.worker.id;
  std::vector<LocalRank> ranks;
  if (config.topology.empty()) {
    for (int64_t i = 0; i < config.num_workers; ++i) {
      LocalRank& rank = ranks.emplace_back();
      rank.member = absl::StrCat("worker ", i);
      rank.id = absl::StrCat(prefix.empty() ? "worker" : prefix, "-", i);
      rank.role = "both";
    }
    return ranks;
  }
  std::map<std::string, int64_t> groups_of_role;
  for (const config::PoolSettings& pool : config.topology) {
    for (int64_t i = 0; i < pool.groups; ++i) {
      AppendGroup(pool, absl::StrCat(pool.role, "-", groups_of_role[pool.role]++), prefix, &ranks);
    }
  }
  return ranks;
}

}  // namespace tessera::cli
