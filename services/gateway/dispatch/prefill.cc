// The phase in which a prefill rank computes the prompt and hands its KV to the decode rank.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "services/base/log.h"
#include "services/gateway/dispatch/call_errors.h"
#include "services/gateway/dispatch/sequence.h"
#include "services/gateway/dispatch/worker_requests.h"
#include "services/rpc/channel.h"
#include "services/rpc/grpc_status.h"

namespace tessera::gateway {
namespace {

constexpr absl::Duration kReleaseTimeout = absl::Seconds(2);

// Clients may use one request id twice, so it would not do.
std::string NewHandoffId() {
  thread_local absl::BitGen generator;
  return absl::StrFormat("%016x%016x", absl::Uniform<uint64_t>(generator),
                         absl::Uniform<uint64_t>(generator));
}

}  // namespace

struct PlacedSequence::PrefillCall {
  grpc::ClientContext context;
  v1::PrefillResponse response;
  WorkerChannel worker;
  absl::Time begin;
};

struct PlacedSequence::ReleaseCall {
  grpc::ClientContext context;
  v1::ReleaseHandoffRequest request;
  v1::ReleaseHandoffResponse response;
  WorkerChannel worker;
};

void PlacedSequence::StartPrefill() {
  attempt_.handoff_id = NewHandoffId();
  auto call = std::make_shared<PrefillCall>();
  call->context.set_deadline(rpc::ToChrono(request_.deadline));
  call->worker = dispatcher_->workers.Get(attempt_.prefill.address());
  call->begin = absl::Now();
  if (!SetContext(std::shared_ptr<grpc::ClientContext>(call, &call->context))) return;
  v1::PrefillRequest request;
  *request.mutable_request() = ComputeRequest(request_, tokens_, attempt_.epoch);
  request.set_decode_address(attempt_.decode.address());
  request.set_handoff_id(attempt_.handoff_id);
  // Serializes the request before it returns.
  call->worker.stub->async()->Prefill(
      &call->context, &request, &call->response,
      [self = shared_from_this(), call](const grpc::Status& status) {
        self->OnPrefilled(*call, rpc::FromGrpcStatus(status));
      });
}

void PlacedSequence::OnPrefilled(const PrefillCall& call, const absl::Status& status) {
  attempt_.connection = ConnectionOf(*call.worker.channel);
  if (!status.ok()) {
    // The lease is not given back: rows may still be on their way, so only its deadline, which
    // ends their streams first, makes its blocks free for others.
    if (observer() == nullptr) return;  // cancelled
    if (!IsDecodeRankFailure(status)) return OnCallFailed(attempt_.prefill, status);
    dispatcher_->workers.Forget(attempt_.decode.address());
    return OnCallFailed(attempt_.decode, status);
  }
  const v1::PrefillResponse& response = call.response;
  if (observer() == nullptr) {  // cancelled while the answer was on its way
    if (!response.has_finished()) ReleaseHandoff();
    return;
  }
  end_.cached_tokens = response.cached_tokens();
  dispatcher_->handoff_bytes.Add(
      static_cast<double>(std::max<int64_t>(response.handoff_bytes(), 0)));
  dispatcher_->prefill_time.Observe(absl::ToDoubleSeconds(absl::Now() - call.begin));
  dispatcher_->handoff_tail.Observe(
      absl::ToDoubleSeconds(absl::Microseconds(response.handoff_tail_us())));
  if (response.tokens().token_ids_size() != 1 || !OnTokens(response.tokens())) {
    attempt_.protocol_broken = true;
    if (!response.has_finished()) ReleaseHandoff();
    return OnCallFailed(attempt_.prefill, absl::OkStatus());
  }
  if (response.has_finished()) {
    SetFinished(response.finished());
    return End(end_);
  }
  if (observer() == nullptr) return ReleaseHandoff();  // that token was enough for the client
  OpenStream();
}

void PlacedSequence::ReleaseHandoff() {
  auto call = std::make_shared<ReleaseCall>();
  call->context.set_deadline(rpc::ToChrono(absl::Now() + kReleaseTimeout));
  call->request.set_handoff_id(attempt_.handoff_id);
  call->worker = dispatcher_->workers.Get(attempt_.decode.address());
  call->worker.stub->async()->ReleaseHandoff(
      &call->context, &call->request, &call->response,
      [self = shared_from_this(), call](const grpc::Status& status) {
        if (status.ok()) return;
        TESSERA_LOG(kInfo).With("request_id", self->request_.id)
            << "a lease of handed-over KV was not given back and ends by itself: "
            << status.error_message();
      });
}

}  // namespace tessera::gateway
