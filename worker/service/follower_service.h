// tessera.v1.WorkerService of a rank that does not lead: it takes keys and values, and no requests.
#ifndef TESSERA_WORKER_SERVICE_FOLLOWER_SERVICE_H_
#define TESSERA_WORKER_SERVICE_FOLLOWER_SERVICE_H_

#include <cstdint>
#include <memory>

#include "worker/group/group_model.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace tessera::worker {

// first_layer: of this rank in the whole model. follower outlives the service, and the service all
// its calls.
std::unique_ptr<grpc::Service> MakeFollowerService(group::GroupFollower& follower,
                                                   int64_t first_layer);

}  // namespace tessera::worker

#endif  // TESSERA_WORKER_SERVICE_FOLLOWER_SERVICE_H_
