#include "services/cli/local_cluster.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/cli/client/inference_client.h"
#include "services/config/topology.h"

namespace tessera::cli {
namespace {

using supervisor::Addresses;
using supervisor::MemberSpec;

constexpr char kRouter[] = "router";
constexpr char kGateway[] = "gateway";
constexpr char kAnyFreePort[] = "127.0.0.1:0";
constexpr absl::Duration kDrainGrace =
    absl::Seconds(5);  // for what a process does after its own drain timeout
constexpr absl::Duration kHealthInterval = absl::Milliseconds(20);
constexpr absl::Duration kHealthCallTimeout = absl::Seconds(2);

int64_t NumProcessors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
}

// host:port with `offset` added to a port that is not 0.
std::string WithPortOffset(const std::string& address, int64_t offset) {
  const size_t colon = address.rfind(':');
  int64_t port = 0;
  if (colon == std::string::npos || !absl::SimpleAtoi(address.substr(colon + 1), &port) ||
      port == 0) {
    return address;
  }
  return absl::StrCat(address.substr(0, colon + 1), port + offset);
}

class ArgumentList {
 public:
  ArgumentList(const std::string& command, const LocalClusterOptions& options) : list_({command}) {
    list_.insert(list_.end(), options.arguments.begin(), options.arguments.end());
    if (options.is_private) {
      Set("log.level", "error");
      Set("log.format", "text");
    }
  }
  void Set(const std::string& key, const std::string& value) {
    list_.insert(list_.end(), {"--set", absl::StrCat(key, "=", value)});
  }
  // The address that a member had before, so that its peers find it again; else the configured one.
  void SetListen(const std::string& key, const std::string& member, const Addresses& known,
                 const std::string& configured) {
    const auto found = known.find(member);
    Set(key, found != known.end() ? found->second : configured);
  }
  std::vector<std::string> Finish() {
    list_.insert(list_.end(), {"--ready-fd", absl::StrCat(supervisor::kReadyFd)});
    return std::move(list_);
  }

 private:
  std::vector<std::string> list_;
};

std::string RouterAddress(const Addresses& known) {
  const auto found = known.find(kRouter);
  return found == known.end() ? "" : found->second;
}

}  // namespace

int64_t WorkerThreads(const config::ClusterConfig& config, int64_t num_processors) {
  if (config.worker.threads > 0) {
    return config.worker.threads;
  }
  return std::max<int64_t>(1, num_processors / config::TopologyRanks(config::PoolsOf(config)));
}

std::vector<std::string> RouterArguments(const LocalClusterOptions& options,
                                         const Addresses& known) {
  ArgumentList arguments(kRouter, options);
  arguments.SetListen("router.listen", kRouter, known,
                      options.is_private ? kAnyFreePort : options.config.router.listen);
  return arguments.Finish();
}

std::vector<std::string> WorkerArguments(const LocalClusterOptions& options, const LocalRank& rank,
                                         int64_t index, int64_t threads, const Addresses& known) {
  const config::WorkerSettings& worker = options.config.worker;
  ArgumentList arguments("worker", options);
  arguments.Set("model.path", options.config.model.path);
  arguments.Set("model.name", options.config.model.name);
  arguments.Set("worker.id", rank.id);
  arguments.Set("worker.role", rank.role);
  arguments.Set("worker.group.name", rank.group.name);
  arguments.Set("worker.group.stages", absl::StrCat(rank.group.stages));
  arguments.Set("worker.group.expert_ranks", absl::StrCat(rank.group.expert_ranks));
  arguments.Set("worker.group.stage", absl::StrCat(rank.group.stage));
  arguments.Set("worker.group.expert_rank", absl::StrCat(rank.group.expert_rank));
  arguments.SetListen("worker.listen", rank.member, known,
                      options.is_private ? kAnyFreePort : WithPortOffset(worker.listen, index));
  arguments.Set("worker.metrics_listen",
                options.is_private ? "" : WithPortOffset(worker.metrics_listen, index));
  arguments.Set("worker.router_address", RouterAddress(known));
  arguments.Set("worker.threads", absl::StrCat(threads));
  return arguments.Finish();
}

std::vector<std::string> GatewayArguments(const LocalClusterOptions& options,
                                          const Addresses& known) {
  ArgumentList arguments(kGateway, options);
  arguments.Set("model.path", options.config.model.path);
  arguments.Set("model.name", options.config.model.name);
  arguments.SetListen("gateway.listen", kGateway, known,
                      options.is_private ? kAnyFreePort : options.config.gateway.listen);
  arguments.Set("gateway.router_address", RouterAddress(known));
  return arguments.Finish();
}

LocalCluster::LocalCluster(LocalClusterOptions options) : options_(std::move(options)) {
  supervisor::SupervisorOptions supervised;
  supervised.program = "/proc/self/exe";  // also after an update has replaced the file
  supervised.shown_as = "tessera";
  supervised.start_timeout = options_.start_timeout;
  supervised.on_loading = options_.on_loading;
  if (options_.is_private) {
    log_ = supervisor::OwnedFd(memfd_create("tessera-log", MFD_CLOEXEC));
    if (log_.valid()) {
      fcntl(log_.get(), F_SETFL, O_APPEND);  // several processes write
    }
    supervised.stderr_fd = log_.get();
    supervised.stdout_fd = log_.get();
  } else {
    supervised.stdout_fd = STDERR_FILENO;  // standard output holds the ready line alone
  }
  const config::ClusterConfig& config = options_.config;
  std::vector<MemberSpec> members;
  members.push_back({kRouter, 0, 2,
                     [this](const Addresses& known) { return RouterArguments(options_, known); },
                     kDrainGrace});
  const int64_t threads = WorkerThreads(config, NumProcessors());
  // All at once: no rank of a group serves before the others have joined.
  int64_t index = 0;
  for (const LocalRank& rank : LocalRanks(config)) {
    members.push_back({rank.member, 1, 1,
                       [this, rank, i = index++, threads](const Addresses& known) {
                         return WorkerArguments(options_, rank, i, threads, known);
                       },
                       config.worker.drain_timeout + kDrainGrace});
  }
  members.push_back({kGateway, 1, 0,
                     [this](const Addresses& known) { return GatewayArguments(options_, known); },
                     config.gateway.drain_timeout + kDrainGrace});
  supervisor_ = std::make_unique<supervisor::Supervisor>(std::move(supervised), std::move(members));
}

LocalCluster::~LocalCluster() = default;

absl::Status LocalCluster::Start() {
  supervisor_->Start();
  TESSERA_RETURN_IF_ERROR(supervisor_->WaitUntilServing());
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<InferenceClient> client,
                           InferenceClient::Connect(gateway_address()));
  const absl::Time deadline = absl::Now() + options_.start_timeout;
  while (!client->IsServing(absl::Now() + kHealthCallTimeout)) {
    if (const auto ended = supervisor_->WaitUntilEndedFor(kHealthInterval); ended.has_value()) {
      return ended->ok() ? absl::CancelledError("stopped before it was ready") : *ended;
    }
    if (absl::Now() >= deadline) {
      supervisor_->RequestKill();
      supervisor_->WaitUntilEnded().IgnoreError();
      return absl::DeadlineExceededError(
          absl::StrCat("gateway: its health was not SERVING within ",
                       absl::FormatDuration(options_.start_timeout)));
    }
  }
  return absl::OkStatus();
}

std::string LocalCluster::gateway_address() const {
  const Addresses known = supervisor_->addresses();
  const auto found = known.find(kGateway);
  return found == known.end() ? "" : found->second;
}

std::string LocalCluster::ErrorOutput() const {
  constexpr off_t kMost = 4096;
  struct stat info = {};
  if (!log_.valid() || fstat(log_.get(), &info) != 0) {
    return "";
  }
  std::string text(static_cast<size_t>(std::min(info.st_size, kMost)), '\0');
  const ssize_t got =
      pread(log_.get(), text.data(), text.size(), std::max<off_t>(0, info.st_size - kMost));
  text.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return text;
}

}  // namespace tessera::cli
