// The worker process from configuration to exit.
#ifndef TESSERA_WORKER_SERVICE_RUN_WORKER_H_
#define TESSERA_WORKER_SERVICE_RUN_WORKER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/config/config.h"
#include "worker/model/model.h"
#include "worker/model/model_shard.h"
#include "worker/service/worker_process.h"

namespace tessera::worker {

// Loads the model, or this rank's part of it (worker.group), serves WorkerService with gRPC health,
// registers with config.worker.router_address (none: serves without a router, which a rank of a
// group cannot), and returns OK after SIGTERM or SIGINT: the router is told, health is NOT_SERVING,
// requests in flight go on up to worker.drain_timeout (a second signal cuts them short), and then
// the rank leaves its group. A signal while the weights load ends the
// process at once with exit status 0.
//
// ready_fd: -1, or a descriptor that gets JSON lines: {"loaded_bytes":…,"total_bytes":…} while
// loading, then, once the router has accepted the worker and its group stands, the line of
// rpc::WriteReadyLine, which closes it. INVALID_ARGUMENT names the configuration key; NOT_FOUND and
// the like come from the model's files; UNAVAILABLE: an address is in use.
//
// Call it before the process has started threads.
absl::Status RunWorker(const config::ClusterConfig& config, int ready_fd);

// What tests replace.
struct WorkerHooks {
  std::function<absl::StatusOr<std::unique_ptr<model::VlModel>>(const model::LoadOptions&)>
      load_model;
  std::function<absl::StatusOr<std::unique_ptr<model::ModelShard>>(const model::LoadOptions&,
                                                                   const model::ShardSpec&)>
      load_shard;
  WaitForStop wait_for_stop;
};
absl::Status RunWorkerWith(const config::ClusterConfig& config, int ready_fd,
                           const WorkerHooks& hooks);

}  // namespace tessera::worker

#endif  // TESSERA_WORKER_SERVICE_RUN_WORKER_H_
