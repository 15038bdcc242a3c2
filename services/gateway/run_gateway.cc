#include "services/gateway/run_gateway.h"

#include <memory>

#include "absl/time/clock.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"
#include "services/gateway/gateway_server.h"
#include "services/rpc/ready_line.h"
#include "services/rpc/shutdown_signal.h"

namespace tessera::gateway {

absl::Status RunGateway(const config::ClusterConfig& config, int ready_fd) {
  rpc::ShutdownSignal signal;  // before any thread
  log::SetComponent("gateway");
  TESSERA_ASSIGN_OR_RETURN(const log::Level level, log::ParseLevel(config.log.level));
  log::SetLevel(level);
  log::SetFormat(config.log.format == "json" ? log::Format::kJson : log::Format::kText);
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<GatewayServer> server,
                           GatewayServer::Start(config));
  TESSERA_LOG(kInfo).With("address", server->address()) << "gateway is ready";
  TESSERA_RETURN_IF_ERROR(
      rpc::WriteReadyLine(ready_fd, server->address(), server->metrics_address()));
  signal.Wait(absl::InfiniteDuration());
  TESSERA_LOG(kInfo).With("in_flight", server->in_flight()) << "gateway drains";
  server->Drain(absl::Now() + config.gateway.drain_timeout,
                [&signal] { return signal.Wait(absl::ZeroDuration()) != 0; });
  TESSERA_LOG(kInfo) << "gateway stops";
  return absl::OkStatus();
}

}  // namespace tessera::gateway
