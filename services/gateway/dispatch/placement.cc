// The phase in which the router is asked for a route.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "services/base/log.h"
#include "services/gateway/dispatch/call_errors.h"
#include "services/gateway/dispatch/sequence.h"
#include "services/rpc/channel.h"
#include "services/rpc/grpc_status.h"
#include "services/rpc/status_details.h"

namespace tessera::gateway {

struct PlacedSequence::PlaceCall {
  grpc::ClientContext context;
  v1::PlaceRequest request;
  v1::PlaceResponse response;
};

v1::PlaceRequest PlacedSequence::MakePlaceRequest() {
  const auto num_tokens = static_cast<int32_t>(tokens_.size());
  v1::PlaceRequest place;
  place.set_request_id(request_.id);
  place.set_model_revision(request_.model_revision);
  place.set_prompt_tokens(request_.prompt->token_ids_size() + num_tokens);
  place.set_tiles(request_.tiles);
  place.set_max_new_tokens(std::max(1, request_.sampling->max_tokens() - num_tokens));
  place.set_numerics(numerics_);
  place.set_priority(request_.priority);
  for (const std::string& id : excluded_ids_) place.add_excluded_worker_ids(id);
  const int32_t block_size = dispatcher_->kv_block_size_tokens.load(std::memory_order_relaxed);
  const auto hashes = hashes_.Of(*request_.prompt, tokens_, block_size);
  if (!hashes.empty()) {
    place.mutable_block_hashes()->Add(hashes.begin(), hashes.end());
    place.set_block_hash_size_tokens(block_size);
  }
  return place;
}

void PlacedSequence::Place() {
  const absl::Time now = absl::Now();
  if (now >= request_.deadline) return End(DeadlineError());
  auto call = std::make_shared<PlaceCall>();
  call->request = MakePlaceRequest();
  call->context.set_deadline(
      rpc::ToChrono(std::min(request_.deadline, now + dispatcher_->options.router_timeout)));
  // The context lives as long as the call.
  if (!SetContext(std::shared_ptr<grpc::ClientContext>(call, &call->context))) return;
  dispatcher_->router->async()->Place(
      &call->context, &call->request, &call->response,
      [self = shared_from_this(), call](const grpc::Status& status) {
        self->OnPlaced(status, call->response);
      });
}

void PlacedSequence::OnPlaced(const grpc::Status& status, const v1::PlaceResponse& route) {
  if (observer() == nullptr) return;  // cancelled
  if (!status.ok()) return OnNotPlaced(rpc::FromGrpcStatus(status));
  dispatcher_->kv_block_size_tokens.store(route.kv_block_size_tokens(), std::memory_order_relaxed);
  attempt_ = Attempt();
  attempt_.prefill = route.prefill();
  attempt_.decode = route.decode();
  attempt_.epoch = route.epoch();
  attempt_.tokens_before = tokens_.size();
  if (attempt_.split()) return StartPrefill();
  OpenStream();
}

void PlacedSequence::OnNotPlaced(const absl::Status& status) {
  const absl::Time now = absl::Now();
  if (now >= request_.deadline) return End(DeadlineError());
  if (absl::IsResourceExhausted(status)) {
    // Full queues are the client's to wait for, unless the answer has begun; a request that no
    // worker can ever hold (without a delay) ends in any case.
    const bool never = !rpc::RetryDelayOf(status).has_value();
    if (never || (failures_ == 0 && tokens_.empty())) return End(ClientError(status));
  } else if (!absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status)) {
    TESSERA_LOG(kError).With("request_id", request_.id)
        << "the router refused a placement: " << status.ToString();
    return End(absl::InternalError("the request could not be placed"));
  }
  // Those that failed may be back by now: a restarted worker keeps its id.
  excluded_ids_.clear();
  if (now + backoff_ >= give_up_) return End(UnplacedError(status));
  BackOff();
}

void PlacedSequence::BackOff() {
  const absl::Time until = std::min(absl::Now() + backoff_, request_.deadline);
  backoff_ = std::min(backoff_ * 2, dispatcher_->options.max_backoff);
  auto alarm = std::make_shared<grpc::Alarm>();
  absl::MutexLock lock(&mutex_);
  if (cancelled_) return;
  context_ = nullptr;
  alarm_ = alarm;
  alarm->Set(rpc::ToChrono(until), [self = shared_from_this()](bool) {
    if (self->observer() != nullptr) self->Place();
  });
}

}  // namespace tessera::gateway
