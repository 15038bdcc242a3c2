// Which ranks of a stage hold which experts. Pure values.
#ifndef TESSERA_WORKER_GROUP_EXPERT_PLACEMENT_H_
#define TESSERA_WORKER_GROUP_EXPERT_PLACEMENT_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"

namespace tessera::group {

// holders[layer][expert]: the ranks (columns) that hold it, ascending, at least one. layer: local,
// of all layers of the stage; dense ones have no experts.
struct ExpertPlacement {
  std::vector<std::vector<std::vector<int32_t>>> holders;

  friend bool operator==(const ExpertPlacement&, const ExpertPlacement&) = default;
};

// Expert e lives on rank e * ranks / experts: contiguous, as even as can be.
// experts_of_layer[layer]: 0 for a dense layer.
ExpertPlacement EvenPlacement(const std::vector<int64_t>& experts_of_layer, int64_t ranks);

// The rank that rows of `home` go to: home itself if it holds the expert, else one of the holders,
// spread over homes. Pure: every rank computes the same.
int32_t HolderFor(const std::vector<int32_t>& holders, int32_t home);

// INVALID_ARGUMENT: an expert without holder, a rank out of range, holders not ascending.
absl::Status CheckPlacement(const ExpertPlacement& placement,
                            const std::vector<int64_t>& experts_of_layer, int64_t ranks);

}  // namespace tessera::group

#endif  // TESSERA_WORKER_GROUP_EXPERT_PLACEMENT_H_
