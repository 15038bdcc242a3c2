// The router's gRPC edge: protos stop here.
#ifndef TESSERA_ROUTER_ROUTE_SERVICE_H_
#define TESSERA_ROUTER_ROUTE_SERVICE_H_

#include <memory>

#include "absl/time/time.h"
#include "router/policy/policy.h"
#include "router/worker_registry.h"
#include "services/telemetry/metrics.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace tessera::router {

struct RouteServiceOptions {
  absl::Duration lease;
  absl::Duration heartbeat_interval;
  Policy policy = nullptr;
};

// Implements tessera.v1.RouterService. registry and metrics outlive the service. Thread safe; no
// call blocks.
std::unique_ptr<grpc::Service> MakeRouteService(WorkerRegistry& registry,
                                                const RouteServiceOptions& options,
                                                telemetry::Metrics& metrics);

}  // namespace tessera::router

#endif  // TESSERA_ROUTER_ROUTE_SERVICE_H_
