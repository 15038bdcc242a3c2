#include "worker/service/rank_edge.h"

#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"
#include "services/rpc/ready_line.h"
#include "worker/service/worker_service.h"

namespace tessera::worker {
namespace {

// A request's tiles: 64 pictures of two tiles each are 57 MiB.
constexpr int64_t kMaxMessageBytes = 128 << 20;

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "worker";
}

bool IsWildcard(const std::string& address) {
  return address.rfind("0.0.0.0:", 0) == 0 || address.rfind("[::]:", 0) == 0;
}

}  // namespace

absl::Status RankEdge::Listen(const config::WorkerSettings& settings, grpc::Service& service) {
  if (!settings.metrics_listen.empty()) {
    TESSERA_ASSIGN_OR_RETURN(metrics_address_, metrics_.Listen(settings.metrics_listen));
  }
  rpc::ServerOptions server;
  server.listen = settings.listen;
  server.health_services = {kWorkerServiceName};
  server.max_message_bytes = kMaxMessageBytes;
  server.serving_at_start = false;
  TESSERA_ASSIGN_OR_RETURN(server_, rpc::Server::Start(server, {&service}));
  address_ = settings.advertise.empty() ? server_->address() : settings.advertise;
  id_ = settings.id.empty() ? absl::StrCat(HostName(), ":", server_->port()) : settings.id;
  if (!settings.router_address.empty() && IsWildcard(address_)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "worker.advertise must name a host that gateways reach: worker.listen is the wildcard ",
        settings.listen));
  }
  return absl::OkStatus();
}

void RankEdge::Announce(const std::string& router_address, WorkerDescription description,
                        RegistrationHooks hooks) {
  TESSERA_LOG(kInfo) << "serving " << description.model_name << " on " << server_->address();
  group_epoch_ = hooks.group_epoch;
  if (router_address.empty()) {
    {
      std::lock_guard lock(mutex_);
      registered_ = true;
    }
    Refresh();
    return;
  }
  description.address = address_;
  description.worker_id = id_;
  hooks.on_registered = [this](uint64_t epoch) {
    registered_epoch_ = epoch;
    {
      std::lock_guard lock(mutex_);
      registered_ = true;
    }
    Refresh();
  };
  registration_ =
      std::make_unique<Registration>(router_address, std::move(description), std::move(hooks));
}

void RankEdge::StandingChanged() {
  Refresh();
  std::lock_guard lock(mutex_);
  if (!closed_ && registration_) registration_->Hurry();
}

void RankEdge::Refresh() {
  const uint64_t standing = group_epoch_ ? group_epoch_() : 1;
  if (group_epoch_) group_epoch_gauge_.Set(static_cast<double>(standing));
  std::lock_guard lock(mutex_);
  if (closed_) return;
  const bool serving = registered_ && !draining_ && (!group_epoch_ || group_epoch_() > 0);
  if (serving != serving_) server_->SetServing(serving);
  serving_ = serving;
  if (!serving || std::exchange(said_ready_, true)) return;
  const absl::Status status = rpc::WriteReadyLine(ready_fd_, server_->address(), metrics_address_);
  if (!status.ok()) {
    TESSERA_LOG(kWarning) << status.ToString();
  }
}

void RankEdge::SetDraining() {
  {
    std::lock_guard lock(mutex_);
    draining_ = true;
  }
  Refresh();
  if (registration_) registration_->SetDraining();
}

void RankEdge::Close(absl::Time deadline) {
  {
    std::lock_guard lock(mutex_);
    if (std::exchange(closed_, true)) return;
  }
  if (registration_) registration_->Stop();
  if (server_) server_->Drain(deadline);
}

}  // namespace tessera::worker
