#include "services/gateway/dispatch/dispatcher.h"

#include <grpcpp/grpcpp.h>

#include <utility>

#include "absl/time/clock.h"
#include "services/base/check.h"
#include "services/gateway/dispatch/dispatcher_state.h"
#include "services/gateway/dispatch/sequence.h"
#include "services/rpc/channel.h"
#include "services/rpc/grpc_status.h"

namespace tessera::gateway {

Dispatcher::Dispatcher(DispatchOptions options, telemetry::Metrics* metrics)
    : state_(std::make_shared<State>()) {
  state_->options = std::move(options);
  state_->router = v1::RouterService::NewStub(rpc::MakeChannel(state_->options.router_address));
  if (metrics == nullptr) return;
  state_->failovers = metrics->Get(telemetry::CounterId::kFailovers);
  state_->handoff_bytes = metrics->Get(telemetry::CounterId::kHandoffBytes);
  state_->prefill_time = metrics->Get(telemetry::HistogramId::kPrefill);
  state_->handoff_tail = metrics->Get(telemetry::HistogramId::kHandoffTail);
}

Dispatcher::~Dispatcher() = default;

std::shared_ptr<Sequence> Dispatcher::Start(SequenceRequest request,
                                            std::shared_ptr<SequenceObserver> observer) {
  TESSERA_CHECK(request.deadline < absl::InfiniteFuture()) << "nothing waits for ever";
  auto sequence = std::make_shared<PlacedSequence>(state_, std::move(request), std::move(observer));
  sequence->Start();
  return sequence;
}

int64_t Dispatcher::active() const { return state_->active.load(); }

absl::StatusOr<std::unique_ptr<v1::Cluster>> Dispatcher::GetCluster() {
  grpc::ClientContext context;
  context.set_deadline(rpc::ToChrono(absl::Now() + state_->options.router_timeout));
  auto cluster = std::make_unique<v1::Cluster>();
  const grpc::Status status =
      state_->router->GetCluster(&context, v1::GetClusterRequest(), cluster.get());
  if (!status.ok()) return rpc::FromGrpcStatus(status);
  return cluster;
}

}  // namespace tessera::gateway
