#include "services/gateway/dispatch/sequence.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"

namespace tessera::gateway {

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

bool PlacedSequence::OnTokens(const v1::DecodedTokens& tokens) {
  // A request that breaks workers does so at the same token each time; one that got on so far
  // since the last failure had no part in it.
  constexpr size_t kForgivingTokens = 8;
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
  numerics_ = attempt_.decode.numerics();
  if (tokens_.size() >= attempt_.tokens_before + kForgivingTokens) failures_ = 0;
  backoff_ = dispatcher_->options.first_backoff;
  recovering_ = false;  // progress: the next failure starts its own wait
  give_up_ = absl::InfiniteFuture();
  if (const auto watcher = this->observer(); watcher != nullptr) watcher->OnTokens(generated);
  return true;
}

void PlacedSequence::SetFinished(const v1::DecodeFinished& finished) {
  finished_ = true;
  end_.reason =
      finished.reason() == v1::FINISH_REASON_LENGTH ? EndReason::kLength : EndReason::kStop;
}

}  // namespace tessera::gateway
