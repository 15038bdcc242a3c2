// `tessera worker`
#include "services/cli/role_command.h"
#include "worker/service/run_worker.h"

namespace tessera::cli {

int RunWorkerCommand(const Arguments& arguments) {
  return RunRoleCommand("worker",
                        "Runs one worker: loads the model's weights, registers with the router and "
                        "generates. SIGTERM drains: no new requests, those in "
                        "flight go on up to worker.drain_timeout_ms.",
                        ConfigUse::kWorker, arguments,
                        [](const config::ClusterConfig& config, int ready_fd) {
                          return worker::RunWorker(config, ready_fd);
                        });
}

}  // namespace tessera::cli
