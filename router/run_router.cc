#include "router/run_router.h"

#include <grpcpp/impl/service_type.h>

#include "absl/time/clock.h"
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
  rpc::ServerOptions options;
  options.listen = settings.listen;
  options.health_services = {"tessera.v1.RouterService"};
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<rpc::Server> server,
                           rpc::Server::Start(options, {service.get()}));
  TESSERA_LOG(kInfo).With("address", server->address()) << "router is ready";
  TESSERA_RETURN_IF_ERROR(rpc::WriteReadyLine(ready_fd, server->address(), metrics_address));
  while (signal.Wait(kMetricsInterval) == 0) {
    ReportWorkers(registry, metrics);
  }
  TESSERA_LOG(kInfo) << "router stops";
  server->Drain(absl::Now() + kDrainTimeout);
  return absl::OkStatus();
}

}  // namespace tessera::router
