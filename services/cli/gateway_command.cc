// `tessera gateway`
#include "services/cli/role_command.h"
#include "services/gateway/run_gateway.h"

namespace tessera::cli {

int RunGatewayCommand(const Arguments& arguments) {
  return RunRoleCommand("gateway",
                        "Runs one gateway: the public API. Needs the model's tokenizer and "
                        "configuration files, not its weights. SIGTERM drains: no new "
                        "requests, those in flight go on up to gateway.drain_timeout_ms.",
                        ConfigUse::kGateway, arguments,
                        [](const config::ClusterConfig& config, int ready_fd) {
                          return gateway::RunGateway(config, ready_fd);
                        });
}

}  // namespace tessera::cli
