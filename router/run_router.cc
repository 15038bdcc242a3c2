#include "router/run_router.h"

#include <grpcpp/impl/service_type.h>

#include <algorithm>

#include "absl/time/clock.h"
#include "router/group/group_service.h"
#include "router/route_service.h"
#include "router/worker_registry.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"
#include "services/rpc/ready_line.h"
#include "services/rpc/server.h"
#include "services/rpc/shutdown_signal.h"
#include "services/telemetry/metrics.h"

namespace tessera::router {
namespace {

constexpr absl::Duration kMetricsInterval = absl::Seconds(1);
constexpr absl::Duration kDrainTimeout = absl::Seconds(2);  // its calls take microseconds

absl::Status ApplyLogSettings(const config::LogSettings& settings) {
  TESSERA_ASSIGN_OR_RETURN(const log::Level level, log::ParseLevel(settings.level));
  log::SetLevel(level);
  log::SetFormat(settings.format == "json" ? log::Format::kJson : log::Format::kText);
  return absl::OkStatus();
}

// Also ends expired leases when nobody asks.
void ReportWorkers(WorkerRegistry& registry, telemetry::Metrics& metrics) {
  int serving = 0;
  int draining = 0;
  for (const WorkerView& worker : registry.Snapshot().workers) {
    ++(worker.draining ? draining : serving);
  }
  metrics.Get(telemetry::GaugeId::kRouterWorkers, "serving").Set(serving);
  metrics.Get(telemetry::GaugeId::kRouterWorkers, "draining").Set(draining);
  metrics.Get(telemetry::CounterId::kExpiredLeases)
      .AdvanceTo(static_cast<double>(registry.expired_leases()));
}

// A rank that is stopped keeps its JoinGroup call for a while: its heartbeats tell sooner.
void RelayHeartbeats(WorkerRegistry& registry, GroupService& groups) {
  const absl::Time now = absl::Now();
  for (const RegisteredWorker& worker : registry.Workers()) {
    groups.OnHeartbeat(worker.view.description.id.value(), now - worker.heartbeat_age);
  }
}

rpc::ServerOptions MakeServerOptions(const config::RouterSettings& settings) {
  rpc::ServerOptions options;
  options.listen = settings.listen;
  options.health_services = {"tessera.v1.RouterService", "tessera.v1.GroupService"};
  // The calls of a process that is stopped or unplugged end within the lease.
  options.keepalive_time = settings.lease / 2;
  options.keepalive_timeout = settings.lease / 2;
  return options;
}

}  // namespace

absl::Status RunRouter(const config::RouterSettings& settings, const config::LogSettings& log,
                       int ready_fd) {
  rpc::ShutdownSignal signal;  // before any thread
  log::SetComponent("router");
  TESSERA_RETURN_IF_ERROR(ApplyLogSettings(log));
  TESSERA_ASSIGN_OR_RETURN(const Policy policy, PolicyByName(settings.policy));
  telemetry::Metrics metrics(telemetry::Component::kRouter);
  std::string metrics_address;
  if (!settings.metrics_listen.empty()) {
    TESSERA_ASSIGN_OR_RETURN(metrics_address, metrics.Listen(settings.metrics_listen));
  }
  WorkerRegistry registry(settings.lease, Clock::Real());
  const std::unique_ptr<grpc::Service> service =
      MakeRouteService(registry, {settings.lease, settings.heartbeat_interval, policy}, metrics);
  GroupServiceOptions group_options;
  group_options.table = {settings.group_form_timeout, settings.group_settle, settings.lease};
  const std::unique_ptr<GroupService> groups =
      GroupService::Create(group_options, Clock::Real(), metrics);
  TESSERA_ASSIGN_OR_RETURN(
      const std::unique_ptr<rpc::Server> server,
      rpc::Server::Start(MakeServerOptions(settings), {service.get(), &groups->service()}));
  TESSERA_LOG(kInfo).With("address", server->address()) << "router is ready";
  TESSERA_RETURN_IF_ERROR(rpc::WriteReadyLine(ready_fd, server->address(), metrics_address));
  // A heartbeat is relayed well before the lease that it renews is over.
  const absl::Duration interval = std::min(kMetricsInterval, settings.lease / 4);
  while (signal.Wait(interval) == 0) {
    RelayHeartbeats(registry, *groups);
    ReportWorkers(registry, metrics);
  }
  TESSERA_LOG(kInfo) << "router stops";
  groups->Stop();  // its calls last as long as the ranks
  server->Drain(absl::Now() + kDrainTimeout);
  return absl::OkStatus();
}

}  // namespace tessera::router
