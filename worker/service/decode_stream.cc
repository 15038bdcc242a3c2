#include "worker/service/decode_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "services/rpc/grpc_status.h"
#include "services/rpc/status_details.h"
#include "worker/service/decode_events.h"

namespace tessera::worker {

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
    } else if (end_->status.GetPayload(engine::kHandedBackPayload)) {
      end_->status.ErasePayload(engine::kHandedBackPayload);
      end_->status = rpc::WithReason(end_->status, kPreempted);
    }
    if (absl::IsUnavailable(end_->status) && rpc::ReasonOf(end_->status).empty()) {
      end_->status = rpc::WithReason(end_->status, kNotNow);
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
    for (const engine::TokenEvent& event : pending_) AppendToken(tokens, event);
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
