// The router as a process.
#ifndef TESSERA_ROUTER_RUN_ROUTER_H_
#define TESSERA_ROUTER_RUN_ROUTER_H_

#include "absl/status/status.h"
#include "services/config/config.h"

namespace tessera::router {

// Serves until SIGTERM or SIGINT, then returns OK. Workers and gateways find a restarted router
// again by themselves, so it drains nothing but the calls in flight. ready_fd: see
// services/rpc/ready_line.h, -1: none. UNAVAILABLE: the address is in use (named).
absl::Status RunRouter(const config::RouterSettings& settings, const config::LogSettings& log,
                       int ready_fd);

}  // namespace tessera::router

#endif  // TESSERA_ROUTER_RUN_ROUTER_H_
