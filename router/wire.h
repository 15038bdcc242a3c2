// Messages of router.proto to the router's own types and back.
#ifndef TESSERA_ROUTER_WIRE_H_
#define TESSERA_ROUTER_WIRE_H_

#include "absl/status/statusor.h"
#include "router/policy/cluster.h"
#include "router/worker_registry.h"
#include "tessera/v1/router.pb.h"

namespace tessera::router {

WorkerLoad FromProto(const v1::WorkerLoad& proto);
GroupPlace FromProto(const v1::GroupPlace& proto);
HeartbeatReport FromProto(const v1::HeartbeatRequest& proto);
// INVALID_ARGUMENT: role is none.
absl::StatusOr<WorkerDescription> FromProto(const v1::RegisterRequest& proto);
// INVALID_ARGUMENT names the field and its bound.
absl::StatusOr<RequestShape> FromProto(const v1::PlaceRequest& proto);

v1::Placement ToPlacement(const WorkerDescription& worker);
v1::ClusterWorker ToProto(const RegisteredWorker& worker);

}  // namespace tessera::router

#endif  // TESSERA_ROUTER_WIRE_H_
