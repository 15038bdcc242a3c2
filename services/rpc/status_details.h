// Typed details on an absl::Status (google.rpc.BadRequest, RetryInfo, ErrorInfo). They travel with
// the status over gRPC (grpc_status.h). Free of gRPC and protobuf.
#ifndef TESSERA_SERVICES_RPC_STATUS_DETAILS_H_
#define TESSERA_SERVICES_RPC_STATUS_DETAILS_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace tessera::rpc {

struct FieldViolation {
  std::string field;        // path from the request, e.g. "messages[2].content[0].image"
  std::string description;  // what is wrong, and the bound
};

// Bytes outside ASCII become '?': error texts may quote anything, but a status and its details must
// be valid text.
std::string AsciiText(absl::string_view text);

// INVALID_ARGUMENT with the message "field: description" and a BadRequest of that one violation.
absl::Status BadFieldError(absl::string_view field, absl::string_view description);

// The same status with a RetryInfo: clients should wait so long before they try again. status is
// not OK.
absl::Status WithRetryDelay(absl::Status status, absl::Duration delay);

// The same status with an ErrorInfo of domain "tessera". reason: UPPER_SNAKE_CASE. status is not
// OK.
absl::Status WithReason(absl::Status status, absl::string_view reason);

std::vector<FieldViolation> FieldViolationsOf(
    const absl::Status& status);  // empty if there are none
std::optional<absl::Duration> RetryDelayOf(const absl::Status& status);
std::string ReasonOf(const absl::Status& status);  // empty: none

}  // namespace tessera::rpc

#endif  // TESSERA_SERVICES_RPC_STATUS_DETAILS_H_
