// Channels between Tessera's processes, and deadlines as absl::Time.
#ifndef TESSERA_SERVICES_RPC_CHANNEL_H_
#define TESSERA_SERVICES_RPC_CHANNEL_H_

#include <chrono>
#include <memory>
#include <string>

#include "absl/time/time.h"

namespace grpc {
class Channel;
}  // namespace grpc

namespace tessera::rpc {

// A channel of its own connection (not shared with other channels to the same address, so that a
// reconnect is never held back by another's back-off). Sends keep-alive pings during calls: a peer
// that is stopped or unplugged ends its calls within 15 s. Connects on first use.
std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address);

// For ClientContext::set_deadline and Alarm::Set; InfiniteFuture is no deadline.
std::chrono::system_clock::time_point ToChrono(absl::Time time);
absl::Time FromChrono(std::chrono::system_clock::time_point time);

}  // namespace tessera::rpc

#endif  // TESSERA_SERVICES_RPC_CHANNEL_H_
