// The three kinds of worker process, each from a loaded model to its drain.
#ifndef TESSERA_WORKER_SERVICE_WORKER_PROCESS_H_
#define TESSERA_WORKER_SERVICE_WORKER_PROCESS_H_

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/config/config.h"
#include "worker/model/model.h"
#include "worker/model/model_shard.h"
#include "worker/service/worker_setup.h"

namespace tessera::worker {

// Waits for a request to stop, at most so long: true if there was one.
using WaitForStop = std::function<bool(absl::Duration timeout)>;

// Serves from its making to its end.
class WorkerProcess {
 public:
  virtual ~WorkerProcess() = default;
  // Takes no new requests; returns when none is left, at most shortly after the deadline, or after
  // another request to stop. At most once.
  virtual void Drain(absl::Time deadline, const WaitForStop& wait_for_stop) = 0;
};

// Models and shards outlive the process. Errors as RunWorker.

// A rank that holds the whole model and belongs to no group.
absl::StatusOr<std::unique_ptr<WorkerProcess>> StartSingle(const config::ClusterConfig& config,
                                                           const WorkerIdentity& identity,
                                                           model::VlModel& model, int ready_fd);
// A rank of its group's first stage: it has the requests of its column.
absl::StatusOr<std::unique_ptr<WorkerProcess>> StartLead(const config::ClusterConfig& config,
                                                         const WorkerIdentity& identity,
                                                         model::ModelShard& shard, int ready_fd);
// A rank of a later stage.
absl::StatusOr<std::unique_ptr<WorkerProcess>> StartFollower(const config::ClusterConfig& config,
                                                             const WorkerIdentity& identity,
                                                             model::ModelShard& shard,
                                                             int ready_fd);

}  // namespace tessera::worker

#endif  // TESSERA_WORKER_SERVICE_WORKER_PROCESS_H_
