#include "services/gateway/dispatch/call_errors.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/rpc/status_details.h"

namespace tessera::gateway {
namespace {

// Reasons of a worker's ErrorInfo.
constexpr absl::string_view kDecodeRankUnavailable = "DECODE_RANK_UNAVAILABLE";
constexpr absl::string_view kPreempted = "PREEMPTED";

}  // namespace

absl::Status DeadlineError() { return absl::DeadlineExceededError("the call's deadline passed"); }

absl::Status UnplacedError(const absl::Status& status) {
  const absl::string_view message =
      rpc::ReasonOf(status).empty() ? "the router does not answer" : status.message();
  return absl::UnavailableError(absl::StrCat("no worker can serve the request now: ", message));
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

bool IsWorkerFailure(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:  // ended without its last event
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kNotFound:
      return true;
    case absl::StatusCode::kResourceExhausted:
      return rpc::RetryDelayOf(status)
          .has_value();  // a full queue; without a delay the request never fits
    default:
      return IsDecodeRankFailure(status);
  }
}

bool IsDecodeRankFailure(const absl::Status& status) {
  return rpc::ReasonOf(status) == kDecodeRankUnavailable;
}

bool IsPreemption(const absl::Status& status) {
  return absl::IsUnavailable(status) &&
         (rpc::ReasonOf(status) == kPreempted || absl::StrContains(status.message(), "preempted"));
}

bool IsNotNow(const absl::Status& status) {
  return absl::IsUnavailable(status) && (!rpc::ReasonOf(status).empty() || IsPreemption(status));
}

bool IsStaleRoute(const absl::Status& status) {
  return absl::IsFailedPrecondition(status) || absl::IsNotFound(status);
}

}  // namespace tessera::gateway
