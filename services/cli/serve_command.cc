// `tessera serve`: a whole local cluster under supervision.
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <mutex>
#include <string>

#include "absl/strings/str_cat.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"
#include "services/cli/client/answer_text.h"
#include "services/cli/client/inference_client.h"
#include "services/cli/commands.h"
#include "services/cli/config_flags.h"
#include "services/cli/default_model.h"
#include "services/cli/flags.h"
#include "services/cli/local_cluster.h"
#include "services/cli/progress_line.h"
#include "services/cli/signal_watcher.h"
#include "services/config/topology.h"

namespace tessera::cli {
namespace {

constexpr absl::Duration kGetModelTimeout = absl::Seconds(10);

// Hands signals to a cluster that may not exist yet.
class StopSwitch {
 public:
  void Attach(supervisor::Supervisor* supervisor) {
    const std::lock_guard<std::mutex> lock(mutex_);
    supervisor_ = supervisor;
    Pass();
  }
  void OnSignal(int count) {
    const std::lock_guard<std::mutex> lock(mutex_);
    count_ = count;
    TESSERA_LOG(kInfo) << (count == 1 ? "draining; a second signal kills at once"
                                      : "killing all processes");
    Pass();
  }

 private:
  void Pass() {
    if (supervisor_ == nullptr || count_ == 0) {
      return;
    }
    if (count_ == 1) {
      supervisor_->RequestStop();
    } else {
      supervisor_->RequestKill();
    }
  }

  std::mutex mutex_;
  supervisor::Supervisor* supervisor_ = nullptr;
  int count_ = 0;
};

// "2 workers", "4 ranks as prefill=1x2,decode=1x2"
std::string LayoutText(const config::ClusterConfig& config) {
  const int64_t ranks = config::TopologyRanks(config::PoolsOf(config));
  const char* plural = ranks == 1 ? "" : "s";
  if (config.topology.empty()) {
    return absl::StrCat(ranks, " worker", plural);
  }
  return absl::StrCat(ranks, " rank", plural, " as ", config::FormatTopology(config.topology));
}

absl::Status PrintReadyLine(const LocalCluster& cluster, const config::ClusterConfig& config) {
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<InferenceClient> client,
                           InferenceClient::Connect(cluster.gateway_address()));
  TESSERA_ASSIGN_OR_RETURN(const v1::Model model, client->GetModel(absl::Now() + kGetModelTimeout));
  std::printf("tessera is ready: gRPC on %s, model %s (%d tokens of context, %s, %s)\n",
              cluster.gateway_address().c_str(), model.name().c_str(), model.context_tokens(),
              config.worker.compute.c_str(), LayoutText(config).c_str());
  std::fflush(stdout);
  return absl::OkStatus();
}

absl::Status Serve(const ConfigFlags& config_flags, absl::Duration start_timeout,
                   StopSwitch* stop) {
  LocalClusterOptions options;
  TESSERA_ASSIGN_OR_RETURN(options.config, config_flags.Read());
  TESSERA_RETURN_IF_ERROR(CheckModelFolder(options.config.model.path));
  TESSERA_ASSIGN_OR_RETURN(const log::Level level, log::ParseLevel(options.config.log.level));
  log::SetLevel(level);
  log::SetFormat(options.config.log.format == "json" ? log::Format::kJson : log::Format::kText);
  log::SetComponent("serve");
  ProgressLine progress;
  options.arguments = config_flags.AsArguments();
  options.start_timeout = start_timeout;
  options.on_loading = [&progress](const std::string& name, int64_t loaded_bytes,
                                   int64_t total_bytes) {
    progress.Update(name, loaded_bytes, total_bytes);
  };
  const config::ClusterConfig config = options.config;
  LocalCluster cluster(std::move(options));
  stop->Attach(&cluster.supervisor());
  absl::Status status = cluster.Start();
  progress.Finish();
  if (status.ok()) {
    status = PrintReadyLine(cluster, config);
    if (!status.ok()) {
      TESSERA_LOG(kError) << "the gateway does not describe its model: "
                          << std::string(status.message());
      cluster.supervisor().RequestStop();
    }
    const absl::Status ended = cluster.supervisor().WaitUntilEnded();
    status = status.ok() ? ended : status;
  } else if (absl::IsCancelled(status)) {
    status = cluster.supervisor().WaitUntilEnded();  // OK after a stop, CANCELLED after a kill
  }
  stop->Attach(nullptr);
  return status;
}

}  // namespace

int RunServeCommand(const Arguments& arguments) {
  StopSwitch stop;
  // First of all, so that every later thread leaves the signals to it.
  const SignalWatcher signals([&stop](int, int count) { stop.OnSignal(count); });
  Flags flags("serve",
              "Brings up a whole local cluster (router, workers, gateway) as child processes, one "
              "worker per rank of --topology, "
              "prints one ready line on standard output "
              "when the gateway serves, and keeps the cluster up: a process that dies is started "
              "again. Ctrl-C or SIGTERM drains gateway, "
              "workers and router in this order; a second one kills at once.",
              "Exit codes: 0 stopped on request, 1 failure (the cluster could not start, or did "
              "not stop in time), 2 wrong usage.");
  const ConfigFlags config_flags(flags, ConfigUse::kServe);
  absl::Duration start_timeout = absl::Minutes(10);
  flags.Duration("--start-timeout", &start_timeout, "for each process to get ready");
  if (const auto exit_code = flags.Parse(arguments); exit_code.has_value()) {
    return *exit_code;
  }
  const absl::Status status = Serve(config_flags, start_timeout, &stop);
  if (!status.ok()) {
    std::fputs(ErrorText("serve", status).c_str(), stderr);
    return kExitFailure;
  }
  return kExitOk;
}

}  // namespace tessera::cli
