// A gateway inside a process: everything between the configuration and the listening port.
#ifndef TESSERA_SERVICES_GATEWAY_GATEWAY_SERVER_H_
#define TESSERA_SERVICES_GATEWAY_GATEWAY_SERVER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/config/config.h"
#include "services/gateway/dispatch/dispatcher.h"

namespace tessera::gateway {

// Thread safe.
class GatewayServer {
 public:
  // Loads the tokenizer and starts to listen. The router and workers may come later: health is
  // SERVING while the router knows a worker of this model's revision that takes requests. dispatch:
  // its router_address, max_attempts and router_timeout come from the configuration.
  // INVALID_ARGUMENT and NOT_FOUND name the key or the model's file; UNAVAILABLE: the address is in
  // use.
  static absl::StatusOr<std::unique_ptr<GatewayServer>> Start(const config::ClusterConfig& config,
                                                              DispatchOptions dispatch = {});
  virtual ~GatewayServer() = default;

  virtual const std::string& address() const = 0;          // host:port as bound
  virtual const std::string& metrics_address() const = 0;  // empty: off
  virtual int64_t in_flight() const = 0;                   // calls
  virtual int64_t active_sequences() const = 0;            // answers at workers

  // Health becomes NOT_SERVING and new calls are refused; calls in flight may end until the
  // deadline, or until `hurry` (asked several times a second) says true; the rest is cancelled. At
  // most once.
  virtual void Drain(absl::Time deadline, const std::function<bool()>& hurry) = 0;
};

}  // namespace tessera::gateway

#endif  // TESSERA_SERVICES_GATEWAY_GATEWAY_SERVER_H_
