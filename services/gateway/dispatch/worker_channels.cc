#include "services/gateway/dispatch/worker_channels.h"

#include <grpcpp/channel.h>

#include <utility>

#include "services/rpc/channel.h"

namespace tessera::gateway {

Connection ConnectionOf(grpc::Channel& channel) {
  switch (channel.GetState(/*try_to_connect=*/false)) {
    case GRPC_CHANNEL_READY:
      return Connection::kUp;
    case GRPC_CHANNEL_TRANSIENT_FAILURE:
      return Connection::kNeverUp;
    default:
      return Connection::kLost;
  }
}

WorkerChannel WorkerChannels::Get(const std::string& address) {
  absl::MutexLock lock(&mutex_);
  const auto found = channels_.find(address);
  if (found != channels_.end()) return found->second;
  if (channels_.size() >= kMaxChannels) channels_.clear();
  WorkerChannel made;
  made.channel = rpc::MakeChannel(address);
  made.stub = v1::WorkerService::NewStub(made.channel);
  channels_.emplace(address, made);
  return made;
}

void WorkerChannels::Forget(const std::string& address) {
  WorkerChannel forgotten;  // destroyed without the lock
  absl::MutexLock lock(&mutex_);
  if (const auto found = channels_.find(address); found != channels_.end()) {
    forgotten = std::move(found->second);
    channels_.erase(found);
  }
}

}  // namespace tessera::gateway
