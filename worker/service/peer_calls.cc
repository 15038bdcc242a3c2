#include "worker/service/peer_calls.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <utility>

#include "absl/time/clock.h"
#include "services/rpc/channel.h"

namespace tessera::worker {
namespace {

constexpr absl::Duration kWakeTimeout = absl::Seconds(5);
constexpr absl::Duration kReleaseTimeout = absl::Seconds(2);

template <typename Request, typename Response>
struct Call {
  std::shared_ptr<v1::WorkerService::Stub> stub;
  grpc::ClientContext context;
  Request request;
  Response response;
};

}  // namespace

PeerCalls::~PeerCalls() {
  std::map<grpc::ClientContext*, std::shared_ptr<void>> cancelled;
  {
    std::lock_guard lock(mutex_);
    cancelled = under_way_;
  }
  for (const auto& [context, call] : cancelled) context->TryCancel();
  std::unique_lock lock(mutex_);
  ended_.wait(lock, [this] { return under_way_.empty(); });
}

std::shared_ptr<v1::WorkerService::Stub> PeerCalls::StubOf(const std::string& address) {
  std::lock_guard lock(mutex_);
  if (const auto found = stubs_.find(address); found != stubs_.end()) return found->second;
  // Addresses change only when workers are replaced: starting anew now and then costs little.
  if (stubs_.size() >= kMaxChannels) stubs_.clear();
  std::shared_ptr<v1::WorkerService::Stub> stub =
      v1::WorkerService::NewStub(rpc::MakeChannel(address));
  stubs_[address] = stub;
  return stub;
}

void PeerCalls::Began(grpc::ClientContext& context, std::shared_ptr<void> call) {
  std::lock_guard lock(mutex_);
  under_way_.emplace(&context, std::move(call));
}

void PeerCalls::Ended(grpc::ClientContext& context) {
  // Notified under the lock: the destructor may be waiting, and must not finish before this
  // returns.
  std::lock_guard lock(mutex_);
  under_way_.erase(&context);
  ended_.notify_all();
}

void PeerCalls::Wake(const std::string& address, const std::string& group, uint64_t epoch,
                     uint64_t step) {
  auto call = std::make_shared<Call<v1::WakeRequest, v1::WakeResponse>>();
  call->stub = StubOf(address);
  call->context.set_deadline(rpc::ToChrono(absl::Now() + kWakeTimeout));
  // The peer is a member of the epoch, so it is there, even if its connection is not yet.
  call->context.set_wait_for_ready(true);
  call->request.set_group(group);
  call->request.set_epoch(epoch);
  call->request.set_step(step);
  Began(call->context, call);
  call->stub->async()->Wake(&call->context, &call->request, &call->response,
                            [this, call](const grpc::Status&) { Ended(call->context); });
}

void PeerCalls::ReleaseHandoff(const std::string& address, const std::string& handoff_id) {
  auto call = std::make_shared<Call<v1::ReleaseHandoffRequest, v1::ReleaseHandoffResponse>>();
  call->stub = StubOf(address);
  call->context.set_deadline(rpc::ToChrono(absl::Now() + kReleaseTimeout));
  call->request.set_handoff_id(handoff_id);
  Began(call->context, call);
  call->stub->async()->ReleaseHandoff(&call->context, &call->request, &call->response,
                                      [this, call](const grpc::Status&) { Ended(call->context); });
}

}  // namespace tessera::worker
