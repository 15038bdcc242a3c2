// A gRPC server from services and options: one way for every process to listen, to say that it is
// healthy, and to stop.
#ifndef TESSERA_SERVICES_RPC_SERVER_H_
#define TESSERA_SERVICES_RPC_SERVER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace tessera::rpc {

struct ServerOptions {
  std::string listen;  // host:port; port 0: any free one
  std::vector<std::string>
      health_services;  // full service names, e.g. "tessera.v1.RouterService"; "" is always there
  bool reflection = false;
  int64_t max_message_bytes =
      64 << 20;                  // of one received message; larger ones are RESOURCE_EXHAUSTED
  bool serving_at_start = true;  // health: false until SetServing(true)
  // A client that answers no ping for so long after so long a silence has gone: its calls end.
  absl::Duration keepalive_time = absl::Seconds(30);
  absl::Duration keepalive_timeout = absl::Seconds(10);
};

// Thread safe.
class Server {
 public:
  // services outlive the server. UNAVAILABLE: the address is in use (named); INVALID_ARGUMENT: it
  // cannot be listened on.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options,
                                                       const std::vector<grpc::Service*>& services);
  ~Server();  // as Drain with a deadline in the past
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  int port() const;                    // as bound
  const std::string& address() const;  // host:port as bound

  // gRPC health of every service name.
  void SetServing(bool serving);

  // Health becomes NOT_SERVING for good, no new calls are taken, calls in flight may end until the
  // deadline, then they are cancelled. Returns when all have ended. At most once.
  void Drain(absl::Time deadline);

 private:
  struct State;
  explicit Server(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace tessera::rpc

#endif  // TESSERA_SERVICES_RPC_SERVER_H_
