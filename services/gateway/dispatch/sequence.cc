#include "services/gateway/dispatch/sequence.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/base/log.h"
#include "services/rpc/channel.h"
#include "services/rpc/grpc_status.h"
#include "services/rpc/status_details.h"

namespace tessera::gateway {
namespace {

constexpr absl::Duration kFullRetryDelay = absl::Seconds(1);

absl::Status DeadlineError() { return absl::DeadlineExceededError("the call's deadline passed"); }

// The router's own words are fit for clients; a transport's may hold addresses.
absl::Status UnplacedError(const absl::Status& status) {
  const absl::string_view message =
      rpc::ReasonOf(status).empty() ? "the router does not answer" : status.message();
  return absl::UnavailableError(absl::StrCat("no worker can serve the request now: ", message));
}

// Ends of a stream that say nothing about the request: another worker may do better.
bool IsWorkerFailure(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:  // ended without its last event
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kFailedPrecondition:
      return true;
    case absl::StatusCode::kResourceExhausted:
      return rpc::RetryDelayOf(status)
          .has_value();  // a full queue; without a delay the request never fits
    default:
      return false;
  }
}

absl::Status ClientError(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kDeadlineExceeded:
      return DeadlineError();
    case absl::StatusCode::kInvalidArgument:
      return absl::InvalidArgumentError(status.message());
    case absl::StatusCode::kResourceExhausted: {
      const auto delay = rpc::RetryDelayOf(status);
      const absl::Status error = absl::ResourceExhaustedError(status.message());
      return delay.has_value() ? rpc::WithRetryDelay(error, *delay) : error;
    }
    default:
      return absl::InternalError("the model failed on this request");
  }
}

}  // namespace

struct PlacedSequence::PlaceCall {
  grpc::ClientContext context;
  v1::PlaceRequest request;
  v1::PlaceResponse response;
};

// Deletes itself when gRPC is done with it.
class PlacedSequence::Stream final : public grpc::ClientReadReactor<v1::DecodeResponse> {
 public:
  Stream(std::shared_ptr<PlacedSequence> sequence, WorkerChannel worker)
      : sequence_(std::move(sequence)),
        worker_(std::move(worker)),
        context_(std::make_shared<grpc::ClientContext>()) {
    context_->set_deadline(rpc::ToChrono(sequence_->request_.deadline));
  }
  const std::shared_ptr<grpc::ClientContext>& context() { return context_; }

  void Begin(const v1::DecodeRequest& request) {
    worker_.stub->async()->Decode(context_.get(), &request,
                                  this);  // serializes the request before it returns
    StartRead(&response_);
    StartCall();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;  // OnDone follows
    if (!sequence_->OnResponse(response_)) context_->TryCancel();
    StartRead(&response_);
  }
  void OnDone(const grpc::Status& status) override {
    const std::unique_ptr<Stream> self(this);
    const std::shared_ptr<PlacedSequence> sequence = std::move(sequence_);
    sequence->worker_is_connected_ =
        worker_.channel->GetState(/*try_to_connect=*/false) == GRPC_CHANNEL_READY;
    sequence->OnStreamDone(rpc::FromGrpcStatus(status));
  }

 private:
  std::shared_ptr<PlacedSequence> sequence_;
  const WorkerChannel worker_;
  const std::shared_ptr<grpc::ClientContext> context_;
  v1::DecodeResponse response_;
};

PlacedSequence::PlacedSequence(std::shared_ptr<Dispatcher::State> dispatcher,
                               SequenceRequest request, std::shared_ptr<SequenceObserver> observer)
    : dispatcher_(std::move(dispatcher)),
      request_(std::move(request)),
      observer_(std::move(observer)) {
  dispatcher_->active.fetch_add(1);
  backoff_ = dispatcher_->options.first_backoff;
}

PlacedSequence::~PlacedSequence() { dispatcher_->active.fetch_sub(1); }

void PlacedSequence::Start() {
  give_up_ = absl::Now() + dispatcher_->options.placement_patience;
  Place();
}

void PlacedSequence::Cancel() {
  std::shared_ptr<SequenceObserver> observer;
  std::shared_ptr<grpc::ClientContext> context;
  std::shared_ptr<grpc::Alarm> alarm;
  {
    absl::MutexLock lock(&mutex_);
    cancelled_ = true;
    observer = std::move(observer_);
    context = std::move(context_);
    alarm = std::move(alarm_);
  }
  // Without the lock: both may run callbacks in this thread.
  if (context != nullptr) context->TryCancel();
  if (alarm != nullptr) alarm->Cancel();
}

bool PlacedSequence::SetContext(std::shared_ptr<grpc::ClientContext> context) {
  absl::MutexLock lock(&mutex_);
  if (cancelled_) return false;
  context_ = std::move(context);
  return true;
}

std::shared_ptr<SequenceObserver> PlacedSequence::observer() {
  absl::MutexLock lock(&mutex_);
  return observer_;
}

void PlacedSequence::End(absl::StatusOr<SequenceEnd> end) {
  std::shared_ptr<SequenceObserver> observer;
  {
    absl::MutexLock lock(&mutex_);
    observer = std::move(observer_);
    context_ = nullptr;
    alarm_ = nullptr;
  }
  if (observer != nullptr) observer->OnEnd(end);
}

void PlacedSequence::Place() {
  const absl::Time now = absl::Now();
  if (now >= request_.deadline) return End(DeadlineError());
  auto call = std::make_shared<PlaceCall>();
  v1::PlaceRequest& place = call->request;
  place.set_request_id(request_.id);
  place.set_model_revision(request_.model_revision);
  place.set_prompt_tokens(request_.prompt->token_ids_size() + static_cast<int32_t>(tokens_.size()));
  place.set_tiles(request_.tiles);
  place.set_max_new_tokens(
      std::max(1, request_.sampling->max_tokens() - static_cast<int32_t>(tokens_.size())));
  place.set_numerics(numerics_);
  for (const std::string& id : excluded_ids_) place.add_excluded_worker_ids(id);
  call->context.set_deadline(
      rpc::ToChrono(std::min(request_.deadline, now + dispatcher_->options.router_timeout)));
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
  OpenStream(route);
}

void PlacedSequence::OnNotPlaced(const absl::Status& status) {
  const absl::Time now = absl::Now();
  if (now >= request_.deadline) return End(DeadlineError());
  if (absl::IsResourceExhausted(status) && failures_ == 0) {
    return End(
        rpc::WithRetryDelay(absl::ResourceExhaustedError(status.message()), kFullRetryDelay));
  }
  if (!absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status) &&
      !absl::IsResourceExhausted(status)) {
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

v1::DecodeRequest PlacedSequence::MakeDecodeRequest() const {
  v1::DecodeRequest request;
  request.set_request_id(request_.id);
  request.set_model_revision(request_.model_revision);
  request.set_epoch(epoch_);
  v1::PreparedPrompt& prompt = *request.mutable_prompt();
  prompt = *request_.prompt;
  prompt.set_num_prompt_tokens(request_.prompt->token_ids_size());
  prompt.mutable_token_ids()->Add(tokens_.begin(), tokens_.end());
  *request.mutable_sampling() = *request_.sampling;
  return request;
}

void PlacedSequence::OpenStream(const v1::PlaceResponse& route) {
  worker_ = route.decode();
  epoch_ = route.epoch();
  stream_had_response_ = false;
  protocol_broken_ = false;
  auto stream =
      std::make_unique<Stream>(shared_from_this(), dispatcher_->workers.Get(worker_.address()));
  if (!SetContext(stream->context())) return;
  const v1::DecodeRequest request = MakeDecodeRequest();
  stream.release()->Begin(request);
}

bool PlacedSequence::OnResponse(const v1::DecodeResponse& response) {
  stream_had_response_ = true;
  if (finished_ || protocol_broken_) {
    protocol_broken_ = true;
  } else if (response.has_tokens()) {
    protocol_broken_ = !OnTokens(response.tokens());
  } else if (response.has_finished()) {
    finished_ = true;
    end_.reason = response.finished().reason() == v1::FINISH_REASON_LENGTH ? EndReason::kLength
                                                                           : EndReason::kStop;
    end_.cached_tokens = response.finished().usage().cached_tokens();
  }
  return !protocol_broken_;
}

bool PlacedSequence::OnTokens(const v1::DecodedTokens& tokens) {
  const bool with_logprobs = request_.sampling->num_logprobs() >= 0;
  if (tokens.first_position() != static_cast<int64_t>(tokens_.size()) ||
      (with_logprobs && tokens.logprobs_size() != tokens.token_ids_size())) {
    return false;
  }
  std::vector<GeneratedToken> generated(static_cast<size_t>(tokens.token_ids_size()));
  for (int i = 0; i < tokens.token_ids_size(); ++i) {
    GeneratedToken& token = generated[static_cast<size_t>(i)];
    token.id = tokens.token_ids(i);
    tokens_.push_back(token.id);
    if (!with_logprobs) continue;
    const v1::DecodedLogprobs& logprobs = tokens.logprobs(i);
    token.has_logprobs = true;
    token.logprob = logprobs.logprob();
    for (int k = 0; k < std::min(logprobs.top_ids_size(), logprobs.top_logprobs_size()); ++k) {
      token.top.emplace_back(logprobs.top_ids(k), logprobs.top_logprobs(k));
    }
  }
  numerics_ = worker_.numerics();
  backoff_ = dispatcher_->options.first_backoff;
  give_up_ = absl::InfiniteFuture();  // progress: the next failure starts its own wait
  if (const auto watcher = observer(); watcher != nullptr) watcher->OnTokens(generated);
  return true;
}

void PlacedSequence::OnStreamDone(const absl::Status& status) {
  if (observer() == nullptr) return;  // cancelled
  if (finished_ && !protocol_broken_) return End(end_);
  if (protocol_broken_) {
    TESSERA_LOG(kError).With("request_id", request_.id).With("worker", worker_.worker_id())
        << "a worker broke the protocol of Decode";
  }
  if (!protocol_broken_ && !IsWorkerFailure(status)) {
    TESSERA_LOG(kWarning).With("request_id", request_.id).With("worker", worker_.worker_id())
        << "a worker refused or failed a request: " << status.ToString();
    return End(ClientError(status));
  }
  OnWorkerFailed(status);
}

bool PlacedSequence::EndedByItself() {
  if (tokens_.empty()) return false;
  const v1::DecodeSampling& sampling = *request_.sampling;
  const auto& stops = sampling.stop_token_ids();
  if (!sampling.ignore_eos() &&
      std::find(stops.begin(), stops.end(), tokens_.back()) != stops.end()) {
    end_.reason = EndReason::kStop;
    return true;
  }
  end_.reason = EndReason::kLength;
  return static_cast<int64_t>(tokens_.size()) >= sampling.max_tokens();
}

void PlacedSequence::OnWorkerFailed(const absl::Status& status) {
  TESSERA_LOG(kWarning)
          .With("request_id", request_.id)
          .With("worker", worker_.worker_id())
          .With("tokens", tokens_.size())
      << "a worker's stream broke: " << status.ToString();
  finished_ = false;
  if (EndedByItself()) return End(end_);
  dispatcher_->workers.Forget(worker_.address());
  // The router may name a dead worker until its lease ends: connecting to it in vain again is
  // waiting, not one more failed attempt.
  const bool known_dead = !worker_is_connected_ && !stream_had_response_ &&
                          failed_addresses_.contains(worker_.address());
  if (!known_dead) {
    if (failures_ == 0 || give_up_ == absl::InfiniteFuture()) {
      give_up_ = absl::Now() + dispatcher_->options.recovery_patience;
    }
    ++failures_;
    failed_addresses_.insert(worker_.address());
    if (failures_ >= dispatcher_->options.max_attempts) {
      if (absl::IsResourceExhausted(status)) return End(ClientError(status));
      return End(
          absl::UnavailableError(absl::StrCat("workers failed this answer ", failures_, " times")));
    }
    dispatcher_->failovers.Add();
  }
  // A stale epoch or another revision is the route's fault, not the worker's.
  if (!absl::IsFailedPrecondition(status)) excluded_ids_.insert(worker_.worker_id());
  if (known_dead || absl::IsFailedPrecondition(status)) {
    if (absl::Now() + backoff_ >= give_up_)
      return End(absl::UnavailableError("no worker can serve the request now"));
    return BackOff();
  }
  Place();
}

}  // namespace tessera::gateway
