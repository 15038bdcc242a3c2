#include "worker/service/expert_balance.h"

#include <algorithm>
#include <vector>

namespace tessera::worker {

double ExpertImbalance(const group::ExpertCounts& counts, const group::ExpertPlacement& placement,
                       int32_t home, int64_t ranks) {
  double busiest = 0;
  double mean = 0;
  for (size_t layer = 0; layer < std::min(counts.size(), placement.holders.size()); ++layer) {
    const auto& holders = placement.holders[layer];
    std::vector<double> rows(static_cast<size_t>(ranks), 0);
    for (size_t expert = 0; expert < std::min(counts[layer].size(), holders.size()); ++expert) {
      const double count = static_cast<double>(counts[layer][expert]);
      rows[static_cast<size_t>(group::HolderFor(holders[expert], home))] += count;
      mean += count / static_cast<double>(ranks);
    }
    busiest += *std::max_element(rows.begin(), rows.end());
  }
  return mean > 0 ? busiest / mean : 0;
}

}  // namespace tessera::worker
