// `tessera router`
#include "router/run_router.h"
#include "services/cli/role_command.h"

namespace tessera::cli {

int RunRouterCommand(const Arguments& arguments) {
  return RunRoleCommand("router",
                        "Runs one router: workers register with it, gateways ask it where a "
                        "request should run. SIGTERM ends it; requests in flight do not need it.",
                        ConfigUse::kRouter, arguments,
                        [](const config::ClusterConfig& config, int ready_fd) {
                          return router::RunRouter(config.router, config.log, ready_fd);
                        });
}

}  // namespace tessera::cli
