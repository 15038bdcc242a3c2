// The gateway as a process.
#ifndef TESSERA_SERVICES_GATEWAY_RUN_GATEWAY_H_
#define TESSERA_SERVICES_GATEWAY_RUN_GATEWAY_H_

#include "absl/status/status.h"
#include "services/config/config.h"

namespace tessera::gateway {

// Serves until SIGTERM or SIGINT, then lets calls in flight end up to gateway.drain_timeout (a
// second signal cuts them short) and returns OK. Uses config.model, .log and .gateway. ready_fd:
// see services/rpc/ready_line.h, -1: none. Errors as GatewayServer::Start. Call it before the
// process has started threads.
absl::Status RunGateway(const config::ClusterConfig& config, int ready_fd);

}  // namespace tessera::gateway

#endif  // TESSERA_SERVICES_GATEWAY_RUN_GATEWAY_H_
