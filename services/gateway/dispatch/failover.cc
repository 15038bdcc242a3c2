// What follows when a worker fails.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/base/log.h"
#include "services/gateway/dispatch/call_errors.h"
#include "services/gateway/dispatch/sequence.h"

namespace tessera::gateway {

void PlacedSequence::OnCallFailed(const v1::Placement& culprit, const absl::Status& status) {
  if (attempt_.protocol_broken) {
    TESSERA_LOG(kError).With("request_id", request_.id).With("worker", culprit.worker_id())
        << "a worker broke the protocol";
  } else if (!IsWorkerFailure(status)) {
    TESSERA_LOG(kWarning).With("request_id", request_.id).With("worker", culprit.worker_id())
        << "a worker refused or failed a request: " << status.ToString();
    return End(ClientError(status));
  }
  OnWorkerFailed(culprit, status);
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

bool PlacedSequence::Counts(const v1::Placement& culprit, const absl::Status& status) const {
  if (attempt_.protocol_broken) return true;
  if (IsNotNow(status)) return false;
  // Full queues while an answer waits to go on: it goes on when there is room.
  if (absl::IsResourceExhausted(status) && !tokens_.empty()) return false;
  // The router may name a dead worker until its lease ends: connecting to it in vain is waiting.
  const bool reached = attempt_.had_response || attempt_.connection == Connection::kUp;
  return reached || (attempt_.connection == Connection::kLost &&
                     !failed_addresses_.contains(culprit.address()));
}

void PlacedSequence::OnWorkerFailed(const v1::Placement& culprit, const absl::Status& status) {
  TESSERA_LOG(kWarning)
          .With("request_id", request_.id)
          .With("worker", culprit.worker_id())
          .With("tokens", tokens_.size())
      << "a worker failed a request: " << status.ToString();
  finished_ = false;
  if (EndedByItself()) return End(end_);
  if (attempt_.connection != Connection::kUp) dispatcher_->workers.Forget(culprit.address());
  if (!recovering_) give_up_ = absl::Now() + dispatcher_->options.recovery_patience;
  recovering_ = true;
  const bool counts = Counts(culprit, status);
  if (counts) {
    ++failures_;
    if (failures_ >= dispatcher_->options.max_attempts) {
      if (absl::IsResourceExhausted(status)) return End(ClientError(status));
      return End(
          absl::UnavailableError(absl::StrCat("workers failed this answer ", failures_, " times")));
    }
  }
  failed_addresses_.insert(culprit.address());
  if (counts || tokens_.size() > attempt_.tokens_before) dispatcher_->failovers.Add();
  // A worker that is not to blame may get the request again, but not in the same instant.
  const bool innocent = IsStaleRoute(status) || IsPreemption(status);
  const bool is_new = !innocent && excluded_ids_.insert(culprit.worker_id()).second;
  if (is_new) return Place();
  if (absl::Now() + backoff_ >= give_up_)
    return End(absl::UnavailableError("no worker can serve the request now"));
  BackOff();
}

}  // namespace tessera::gateway
