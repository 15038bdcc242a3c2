// How the ranks of a stage find each other once all ranks of the group are connected.
#ifndef TESSERA_WORKER_SERVICE_STAGE_RENDEZVOUS_H_
#define TESSERA_WORKER_SERVICE_STAGE_RENDEZVOUS_H_

#include "worker/group/group_model.h"
#include "worker/transport/communicator.h"
#include "worker/transport/rendezvous.h"

namespace tessera::worker {

// An all-gather among the ranks of one stage by messages over `all`, the communicator of the whole
// group: stages may need different rounds, which one exchange of all ranks could not serve. `all`
// outlives the result's calls and is used by nobody else during one.
transport::Rendezvous StageRendezvous(transport::Communicator& all, const group::GroupShape& shape,
                                      const group::GroupPlace& place);

}  // namespace tessera::worker

#endif  // TESSERA_WORKER_SERVICE_STAGE_RENDEZVOUS_H_
