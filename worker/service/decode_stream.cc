#include "worker/service/decode_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "services/rpc/grpc_status.h"

namespace tessera::worker {
namespace {

void AddTo(v1::DecodedTokens& tokens, const engine::TokenEvent& event) {
  tokens.add_token_ids(event.token_id);
  if (!event.logprobs.present) return;
  v1::DecodedLogprobs& logprobs = *tokens.add_logprobs();
  logprobs.set_logprob(event.logprobs.logprob);
  for (const auto& [id, logprob] : event.logprobs.top) {
    logprobs.add_top_ids(id);
    logprobs.add_top_logprobs(logprob);
  }
}

void SetFinished(v1::DecodeFinished& finished, engine::FinishReason reason,
                 const engine::Usage& usage) {
  finished.set_reason(reason == engine::FinishReason::kStopToken ? v1::FINISH_REASON_STOP
                                                                 : v1::FINISH_REASON_LENGTH);
  v1::Usage& counts = *finished.mutable_usage();
  counts.set_prompt_tokens(static_cast<int32_t>(usage.prompt_tokens));
  counts.set_image_tokens(static_cast<int32_t>(usage.image_tokens));
  counts.set_cached_tokens(static_cast<int32_t>(usage.cached_tokens));
  counts.set_completion_tokens(static_cast<int32_t>(usage.completion_tokens));
}

}  // namespace

class DecodeStream::Sink final : public engine::EventSink {
 public:
  explicit Sink(DecodeStream& stream) : stream_(stream) {}
  void OnToken(const engine::TokenEvent& event) override { stream_.AddToken(event); }
  void OnFinish(engine::FinishReason reason, const absl::Status& status,
                const engine::Usage& usage) override {
    stream_.SetEnd({reason, status, usage});
  }

 private:
  DecodeStream& stream_;
};

std::unique_ptr<engine::EventSink> DecodeStream::MakeSink() {
  return std::make_unique<Sink>(*this);
}

void DecodeStream::Refuse(const absl::Status& status) {
  {
    std::lock_guard lock(mutex_);
    finishing_ = true;
  }
  Finish(rpc::ToGrpcStatus(status));
}

void DecodeStream::AddToken(const engine::TokenEvent& event) {
  Action action = Action::kNothing;
  bool cancel = false;
  {
    std::lock_guard lock(mutex_);
    if (broken_ || overflowed_) return;
    if (pending_.size() >= max_buffered_tokens_) {
      cancel = overflowed_ = true;
      pending_.clear();
    } else {
      pending_.push_back(event);
      action = NextAction();
    }
  }
  if (cancel) cancel_();
  Perform(action);
}

void DecodeStream::SetEnd(End end) {
  Action action;
  {
    std::lock_guard lock(mutex_);
    end_ = std::move(end);
    if (overflowed_) {
      end_->reason = engine::FinishReason::kError;
      end_->status = absl::ResourceExhaustedError(absl::StrCat(
          "the caller reads too slowly: more than ", max_buffered_tokens_, " tokens were waiting"));
    } else if (end_->reason == engine::FinishReason::kCancelled && !broken_) {
      // Nobody has asked for it: the worker stops. Another one can go on.
      end_->status = absl::UnavailableError("the worker is stopping");
    }
    action = NextAction();
  }
  Perform(action);
}

void DecodeStream::OnWriteDone(bool ok) {
  Action action;
  bool cancel = false;
  {
    std::lock_guard lock(mutex_);
    writing_ = false;
    if (!ok && !broken_) {
      broken_ = true;
      pending_.clear();
      cancel = !end_.has_value();
    }
    action = NextAction();
  }
  if (cancel) cancel_();
  Perform(action);
}

void DecodeStream::OnCancel() {
  bool cancel;
  {
    std::lock_guard lock(mutex_);
    broken_ = true;
    pending_.clear();
    cancel = !end_.has_value() && !finishing_;
  }
  // The call ends when the engine says so, within one step.
  if (cancel) cancel_();
}

DecodeStream::Action DecodeStream::NextAction() {
  if (writing_ || finishing_) return Action::kNothing;
  if (!pending_.empty()) {
    response_.Clear();
    v1::DecodedTokens& tokens = *response_.mutable_tokens();
    tokens.set_first_position(static_cast<int32_t>(pending_.front().position));
    for (const engine::TokenEvent& event : pending_) AddTo(tokens, event);
    pending_.clear();
    writing_ = true;
    return Action::kWrite;
  }
  if (!end_.has_value()) return Action::kNothing;
  finishing_ = true;
  if (broken_ || !end_->status.ok()) return Action::kFinish;
  response_.Clear();
  SetFinished(*response_.mutable_finished(), end_->reason, end_->usage);
  return Action::kWriteLast;
}

void DecodeStream::Perform(Action action) {
  switch (action) {
    case Action::kNothing:
      return;
    case Action::kWrite:
      StartWrite(&response_);
      return;
    case Action::kWriteLast:
      StartWriteAndFinish(&response_, grpc::WriteOptions(), grpc::Status::OK);
      return;
    case Action::kFinish:
      Finish(end_->status.ok() ? grpc::Status::CANCELLED : rpc::ToGrpcStatus(end_->status));
      return;
  }
}

}  // namespace tessera::worker
