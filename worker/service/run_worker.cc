#include "worker/service/run_worker.h"

#include <grpcpp/impl/codegen/service_type.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <future>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "kernels/kernels.h"
#include "kernels/thread_pool.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"
#include "services/rpc/ready_line.h"
#include "services/rpc/server.h"
#include "services/rpc/shutdown_signal.h"
#include "services/telemetry/metrics.h"
#include "worker/engine/engine.h"
#include "worker/service/engine_metrics.h"
#include "worker/service/model_revision.h"
#include "worker/service/registration.h"
#include "worker/service/worker_service.h"

namespace tessera::worker {
namespace {

// A request's tiles: 64 pictures of two tiles each are 57 MiB.
constexpr int64_t kMaxMessageBytes = 128 << 20;
constexpr absl::Duration kFlushTimeout = absl::Seconds(2);  // for the last events of cut calls
constexpr absl::Duration kPollInterval = absl::Milliseconds(50);

int64_t UsableProcessors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof(set), &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
}

absl::StatusOr<const kernels::KernelTable*> FindKernels(const std::string& cpu_isa) {
  const kernels::KernelTable* table = kernels::KernelsByName(cpu_isa);
  if (table != nullptr) return table;
  return absl::InvalidArgumentError(
      absl::StrCat("worker.cpu_isa is \"", cpu_isa, "\", this machine runs: auto, ",
                   absl::StrJoin(kernels::RunnableKernelNames(), ", ")));
}

std::string ModelName(const config::ModelSettings& settings) {
  if (!settings.name.empty()) return settings.name;
  std::string path = settings.path;
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path.substr(path.rfind('/') + 1);
}

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "worker";
}

bool IsWildcard(const std::string& address) {
  return address.rfind("0.0.0.0:", 0) == 0 || address.rfind("[::]:", 0) == 0;
}

engine::EngineOptions ToEngineOptions(const config::WorkerSettings& settings) {
  engine::EngineOptions options;
  options.kv_block_size_tokens = settings.kv_block_size_tokens;
  options.kv_cache_bytes = settings.kv_cache_bytes;
  options.embedding_cache_bytes = settings.embedding_cache_bytes;
  options.max_batch_sequences = settings.max_batch_sequences;
  options.max_step_tokens = settings.max_step_tokens;
  options.prefill_chunk_tokens = settings.prefill_chunk_tokens;
  options.max_queued_requests = settings.max_queued_requests;
  options.prefix_caching = settings.prefix_caching;
  options.no_progress_timeout = settings.no_progress_timeout;
  return options;
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

// All that serves; members are torn down in the reverse order.
class Worker {
 public:
  static absl::StatusOr<std::unique_ptr<Worker>> Start(const config::ClusterConfig& config,
                                                       const kernels::KernelTable& table,
                                                       model::VlModel& model, int ready_fd);
  // Returns when no request is left, at most shortly after the deadline.
  void Drain(absl::Time deadline, const std::function<bool(absl::Duration)>& wait_for_stop);

 private:
  Worker() = default;
  absl::Status Serve(const config::ClusterConfig& config, const std::string& revision);
  absl::Status Join(const config::ClusterConfig& config, const kernels::KernelTable& table,
                    model::VlModel& model, const std::string& revision, int ready_fd);
  void BecomeReady(int ready_fd);

  telemetry::Metrics metrics_{telemetry::Component::kWorker};
  std::string metrics_address_;
  EngineMetrics engine_metrics_{metrics_};
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<grpc::Service> service_;
  std::atomic<uint64_t> epoch_{0};  // of the last registration
  std::atomic<bool> draining_{false};
  bool ready_ = false;  // of the registration's thread
  std::unique_ptr<rpc::Server> server_;
  std::unique_ptr<Registration> registration_;
};

absl::StatusOr<std::unique_ptr<Worker>> Worker::Start(const config::ClusterConfig& config,
                                                      const kernels::KernelTable& table,
                                                      model::VlModel& model, int ready_fd) {
  auto worker = std::unique_ptr<Worker>(new Worker());
  TESSERA_ASSIGN_OR_RETURN(const Digest digest, ModelRevision(config.model.path));
  const std::string revision = HexString(digest);
  engine::EngineOptions options = ToEngineOptions(config.worker);
  options.on_step = [worker = worker.get()](const engine::EngineSnapshot& snapshot) {
    worker->engine_metrics_.Update(snapshot);
  };
  TESSERA_ASSIGN_OR_RETURN(worker->engine_, engine::Engine::Create(model, options));
  worker->engine_->Start();
  TESSERA_RETURN_IF_ERROR(worker->Serve(config, revision));
  TESSERA_RETURN_IF_ERROR(worker->Join(config, table, model, revision, ready_fd));
  return worker;
}

absl::Status Worker::Serve(const config::ClusterConfig& config, const std::string& revision) {
  if (!config.worker.metrics_listen.empty()) {
    TESSERA_ASSIGN_OR_RETURN(metrics_address_, metrics_.Listen(config.worker.metrics_listen));
  }
  WorkerServiceOptions options;
  options.model_revision = revision;
  options.epoch = [this] { return epoch_.load(); };
  service_ = MakeWorkerService(*engine_, std::move(options));
  rpc::ServerOptions server;
  server.listen = config.worker.listen;
  server.health_services = {kWorkerServiceName};
  server.max_message_bytes = kMaxMessageBytes;
  server.serving_at_start = false;
  TESSERA_ASSIGN_OR_RETURN(server_, rpc::Server::Start(server, {service_.get()}));
  return absl::OkStatus();
}

absl::Status Worker::Join(const config::ClusterConfig& config, const kernels::KernelTable& table,
                          model::VlModel& model, const std::string& revision, int ready_fd) {
  const config::WorkerSettings& settings = config.worker;
  TESSERA_LOG(kInfo) << "serving " << ModelName(config.model) << " on " << server_->address();
  if (settings.router_address.empty()) {
    BecomeReady(ready_fd);
    return absl::OkStatus();
  }
  WorkerDescription description;
  description.address = settings.advertise.empty() ? server_->address() : settings.advertise;
  if (IsWildcard(description.address)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "worker.advertise must name a host that gateways reach: worker.listen is the wildcard ",
        settings.listen));
  }
  description.worker_id =
      settings.id.empty() ? absl::StrCat(HostName(), ":", server_->port()) : settings.id;
  description.model_revision = revision;
  description.model_name = ModelName(config.model);
  description.context_tokens = model.config().language.max_position_embeddings;
  description.kv_block_size_tokens = settings.kv_block_size_tokens;
  description.max_queued_requests = settings.max_queued_requests;
  description.numerics = absl::StrCat(settings.compute, "/", table.name);
  registration_ =
      std::make_unique<Registration>(settings.router_address, std::move(description),
                                     RegistrationHooks{[this] { return engine_->Snapshot(); },
                                                       [this, ready_fd](uint64_t epoch) {
                                                         epoch_ = epoch;
                                                         if (!std::exchange(ready_, true))
                                                           BecomeReady(ready_fd);
                                                       }});
  return absl::OkStatus();
}

void Worker::BecomeReady(int ready_fd) {
  if (draining_) return;
  server_->SetServing(true);
  const absl::Status status = rpc::WriteReadyLine(ready_fd, server_->address(), metrics_address_);
  if (!status.ok()) {
    TESSERA_LOG(kWarning) << status.ToString();
  }
}

void Worker::Drain(absl::Time deadline, const std::function<bool(absl::Duration)>& wait_for_stop) {
  draining_ = true;
  server_->SetServing(false);
  if (registration_) registration_->SetDraining();
  auto drained =
      std::async(std::launch::async, [this, deadline] { return engine_->Drain(deadline); });
  bool cut = false;
  while (drained.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    if (!cut && wait_for_stop(kPollInterval)) {
      TESSERA_LOG(kWarning) << "a second signal: requests in flight are cancelled";
      cut = true;
      engine_->Drain(absl::InfinitePast()).IgnoreError();
    } else if (cut) {
      drained.wait_for(absl::ToChronoMilliseconds(kPollInterval));
    }
  }
  if (const absl::Status status = drained.get(); !status.ok()) {
    TESSERA_LOG(kWarning) << status.ToString();
  }
  if (registration_) registration_->Stop();
  server_->Drain(absl::Now() + kFlushTimeout);
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
  const absl::Time start = absl::Now();
  auto loading = std::async(std::launch::async, [&] { return hooks.load_model(load); });
  while (loading.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    if (hooks.wait_for_stop(kPollInterval)) {
      // Loading cannot be interrupted, and there is nothing to save.
      TESSERA_LOG(kInfo) << "told to stop while loading";
      std::_Exit(EXIT_SUCCESS);
    }
  }
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<model::VlModel> model, loading.get());
  TESSERA_LOG(kInfo) << "loaded " << (model->weight_bytes() >> 20) << " MiB of weights in "
                     << absl::FormatDuration(
                            absl::Trunc(absl::Now() - start, absl::Milliseconds(1)))
                     << " with " << table->name << " kernels on " << threads << " threads";
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<Worker> worker,
                           Worker::Start(config, *table, *model, ready_fd));
  while (!hooks.wait_for_stop(absl::Hours(1))) {
  }
  TESSERA_LOG(kInfo) << "draining for at most "
                     << absl::FormatDuration(config.worker.drain_timeout);
  worker->Drain(absl::Now() + config.worker.drain_timeout, hooks.wait_for_stop);
  TESSERA_LOG(kInfo) << "stopped";
  return absl::OkStatus();
}

absl::Status RunWorker(const config::ClusterConfig& config, int ready_fd) {
  rpc::ShutdownSignal signal;
  WorkerHooks hooks;
  hooks.load_model = [&](const model::LoadOptions& options) {
    return model::VlModel::Load(config.model.path, options);
  };
  hooks.wait_for_stop = [&](absl::Duration timeout) { return signal.Wait(timeout) != 0; };
  return RunWorkerWith(config, ready_fd, hooks);
}

}  // namespace tessera::worker
