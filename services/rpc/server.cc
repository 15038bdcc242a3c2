#include "services/rpc/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/server_builder_option.h>
#include <grpcpp/impl/server_builder_plugin.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/rpc/channel.h"

namespace tessera::rpc {
namespace {

// "host:port" or "[v6]:port" without its port; the address has been checked by the configuration.
std::string HostOf(const std::string& address) { return address.substr(0, address.rfind(':')); }

// gRPC says only that it failed; binding once by hand says why, before gRPC prints its own lines.
absl::Status CheckBindable(const std::string& address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot listen on ", address, ": expected host:port"));
  }
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host.c_str(), address.c_str() + colon + 1, &hints, &found);
      error != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot listen on ", address, ": ", gai_strerror(error)));
  }
  int error = 0;
  const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    error = errno;
  } else {
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    // A listening socket elsewhere makes bind or listen fail, depending on its options.
    if (bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, 1) != 0) error = errno;
    close(fd);
  }
  freeaddrinfo(found);
  if (error == 0) return absl::OkStatus();
  const std::string message = absl::StrCat("cannot listen on ", address, ": ", strerror(error));
  return error == EADDRINUSE ? absl::UnavailableError(message)
                             : absl::InvalidArgumentError(message);
}

// Linking gRPC's reflection library adds its plugin to every server; this takes it out again.
class WithoutReflection final : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    plugins->erase(std::remove_if(plugins->begin(), plugins->end(),
                                  [](const auto& plugin) {
                                    return plugin->name() == "proto_server_reflection";
                                  }),
                   plugins->end());
  }
};

}  // namespace

struct Server::State {
  std::unique_ptr<grpc::Server> server;
  std::vector<std::string> health_services;
  int port = 0;
  std::string address;
  std::atomic<bool> drained{false};
};

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options,
                                                      const std::vector<grpc::Service*>& services) {
  TESSERA_RETURN_IF_ERROR(CheckBindable(options.listen));
  grpc::EnableDefaultHealthCheckService(true);
  auto state = std::make_unique<State>();
  if (options.reflection) grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  if (!options.reflection) builder.SetOption(std::make_unique<WithoutReflection>());
  // Without this a second process on the same port would silently get half of the calls.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 16 << 10);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS,
                             static_cast<int>(absl::ToInt64Milliseconds(options.keepalive_time)));
  builder.AddChannelArgument(
      GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
      static_cast<int>(absl::ToInt64Milliseconds(options.keepalive_timeout)));
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
  builder.SetMaxSendMessageSize(-1);
  builder.AddListeningPort(options.listen, grpc::InsecureServerCredentials(), &state->port);
  for (grpc::Service* service : services) builder.RegisterService(service);
  state->server = builder.BuildAndStart();
  if (state->server == nullptr || state->port == 0) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", options.listen));
  }
  state->address = absl::StrCat(HostOf(options.listen), ":", state->port);
  state->health_services = options.health_services;
  auto server = std::unique_ptr<Server>(new Server(std::move(state)));
  server->SetServing(options.serving_at_start);
  return server;
}

Server::Server(std::unique_ptr<State> state) : state_(std::move(state)) {}
Server::~Server() { Drain(absl::Now()); }
int Server::port() const { return state_->port; }
const std::string& Server::address() const { return state_->address; }

void Server::SetServing(bool serving) {
  grpc::HealthCheckServiceInterface* health = state_->server->GetHealthCheckService();
  health->SetServingStatus("", serving);
  for (const std::string& name : state_->health_services) health->SetServingStatus(name, serving);
}

void Server::Drain(absl::Time deadline) {
  if (state_->drained.exchange(true)) return;
  state_->server->GetHealthCheckService()->Shutdown();
  state_->server->Shutdown(ToChrono(deadline));
  state_->server->Wait();
}

}  // namespace tessera::rpc
