// How evenly the ranks of a stage share the work of their experts, as one of them sees it.
#ifndef TESSERA_WORKER_SERVICE_EXPERT_BALANCE_H_
#define TESSERA_WORKER_SERVICE_EXPERT_BALANCE_H_

#include <cstdint>

#include "worker/group/expert_placement.h"
#include "worker/group/group_model.h"

namespace tessera::worker {

// Rows of the busiest rank over the mean of the ranks, at least 1, each MoE layer weighted by its
// rows; 0: there were no rows. counts: [layer][expert], rows of the requests of rank `home`;
// placement: of the same layers, over `ranks` ranks. Pure.
double ExpertImbalance(const group::ExpertCounts& counts, const group::ExpertPlacement& placement,
                       int32_t home, int64_t ranks);

}  // namespace tessera::worker

#endif  // TESSERA_WORKER_SERVICE_EXPERT_BALANCE_H_
