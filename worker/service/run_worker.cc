#include "worker/service/run_worker.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <future>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "kernels/kernels.h"
#include "kernels/thread_pool.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"
#include "services/rpc/shutdown_signal.h"
#include "worker/service/worker_setup.h"

namespace tessera::worker {
namespace {

constexpr absl::Duration kPollInterval = absl::Milliseconds(50);

int64_t UsableProcessors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof(set), &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
}

// Says how far loading is: in the log at each tenth, to the supervisor whenever it is known.
model::LoadProgress ReportProgress(int ready_fd) {
  return [ready_fd, tenths = int64_t{0}](int64_t loaded, int64_t total) mutable {
    if (ready_fd >= 0) {
      const std::string line =
          absl::StrCat("{\"loaded_bytes\":", loaded, ",\"total_bytes\":", total, "}\n");
      // A supervisor that is gone is noticed at the ready line.
      [[maybe_unused]] const ssize_t written = write(ready_fd, line.data(), line.size());
    }
    const int64_t now = total > 0 ? loaded * 10 / total : 10;
    if (std::exchange(tenths, now) < now) {
      TESSERA_LOG(kInfo) << "loading weights: " << now * 10 << " % of " << (total >> 20) << " MiB";
    }
  };
}

// Runs a load that takes long; a request to stop meanwhile ends the process.
template <typename Model, typename Load>
absl::StatusOr<std::unique_ptr<Model>> LoadOrStop(const Load& load,
                                                  const WaitForStop& wait_for_stop) {
  const absl::Time start = absl::Now();
  auto loading = std::async(std::launch::async, load);
  while (loading.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    if (wait_for_stop(kPollInterval)) {
      // Loading cannot be interrupted, and there is nothing to save.
      TESSERA_LOG(kInfo) << "told to stop while loading";
      std::_Exit(EXIT_SUCCESS);
    }
  }
  TESSERA_ASSIGN_OR_RETURN(std::unique_ptr<Model> model, loading.get());
  TESSERA_LOG(kInfo) << "loaded " << (model->weight_bytes() >> 20) << " MiB of weights in "
                     << absl::FormatDuration(
                            absl::Trunc(absl::Now() - start, absl::Milliseconds(1)));
  return model;
}

void ServeUntilStopped(WorkerProcess& process, const config::WorkerSettings& settings,
                       const WaitForStop& wait_for_stop) {
  while (!wait_for_stop(absl::Hours(1))) {
  }
  TESSERA_LOG(kInfo) << "draining for at most " << absl::FormatDuration(settings.drain_timeout);
  process.Drain(absl::Now() + settings.drain_timeout, wait_for_stop);
  TESSERA_LOG(kInfo) << "stopped";
}

absl::Status RunSingle(const config::ClusterConfig& config, const kernels::KernelTable& table,
                       const model::LoadOptions& load, int ready_fd, const WorkerHooks& hooks) {
  TESSERA_ASSIGN_OR_RETURN(
      const std::unique_ptr<model::VlModel> model,
      LoadOrStop<model::VlModel>([&] { return hooks.load_model(load); }, hooks.wait_for_stop));
  TESSERA_ASSIGN_OR_RETURN(const WorkerIdentity identity, Identify(config, table));
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<WorkerProcess> process,
                           StartSingle(config, identity, *model, ready_fd));
  ServeUntilStopped(*process, config.worker, hooks.wait_for_stop);
  return absl::OkStatus();
}

absl::Status RunRankOfGroup(const config::ClusterConfig& config, const kernels::KernelTable& table,
                            const model::LoadOptions& load, int ready_fd,
                            const WorkerHooks& hooks) {
  if (config.worker.router_address.empty()) {
    return absl::InvalidArgumentError(
        "worker.router_address is empty: the router forms the group of worker.group.name");
  }
  TESSERA_ASSIGN_OR_RETURN(const model::ModelConfig model,
                           model::ReadModelConfig(config.model.path));
  TESSERA_ASSIGN_OR_RETURN(const model::ShardSpec spec, ShardOf(model, config.worker.group));
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<model::ModelShard> shard,
                           LoadOrStop<model::ModelShard>(
                               [&] { return hooks.load_shard(load, spec); }, hooks.wait_for_stop));
  TESSERA_ASSIGN_OR_RETURN(const WorkerIdentity identity, Identify(config, table));
  const auto start = config.worker.group.stage == 0 ? StartLead : StartFollower;
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<WorkerProcess> process,
                           start(config, identity, *shard, ready_fd));
  ServeUntilStopped(*process, config.worker, hooks.wait_for_stop);
  return absl::OkStatus();
}

}  // namespace

absl::Status RunWorkerWith(const config::ClusterConfig& config, int ready_fd,
                           const WorkerHooks& hooks) {
  if (config.model.path.empty()) return absl::InvalidArgumentError("model.path is empty");
  TESSERA_ASSIGN_OR_RETURN(const kernels::KernelTable* table, FindKernels(config.worker.cpu_isa));
  const int64_t threads = config.worker.threads > 0 ? config.worker.threads : UsableProcessors();
  kernels::ThreadPool pool(static_cast<int>(threads));
  model::LoadOptions load;
  load.compute = config.worker.compute == "f32" ? kernels::Compute::kF32 : kernels::Compute::kBF16;
  load.table = table;
  load.pool = &pool;
  load.progress = ReportProgress(ready_fd);
  TESSERA_LOG(kInfo) << table->name << " kernels on " << threads << " threads";
  return config.worker.group.name.empty() ? RunSingle(config, *table, load, ready_fd, hooks)
                                          : RunRankOfGroup(config, *table, load, ready_fd, hooks);
}

absl::Status RunWorker(const config::ClusterConfig& config, int ready_fd) {
  rpc::ShutdownSignal signal;
  WorkerHooks hooks;
  hooks.load_model = [&](const model::LoadOptions& options) {
    return model::VlModel::Load(config.model.path, options);
  };
  hooks.load_shard = [&](const model::LoadOptions& options, const model::ShardSpec& spec) {
    return model::ModelShard::Load(config.model.path, options, spec);
  };
  hooks.wait_for_stop = [&](absl::Duration timeout) { return signal.Wait(timeout) != 0; };
  return RunWorkerWith(config, ready_fd, hooks);
}

}  // namespace tessera::worker
