// absl::Status to and from gRPC's, details included. gRPC 1.51 has no such conversion of its own.
#ifndef TESSERA_SERVICES_RPC_GRPC_STATUS_H_
#define TESSERA_SERVICES_RPC_GRPC_STATUS_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace tessera::rpc {

// Codes are equal by number; payloads become google.rpc.Status.details; bytes of the message
// outside ASCII become `?`.
grpc::Status ToGrpcStatus(const absl::Status& status);

// The reverse. Unknown codes become UNKNOWN; details that cannot be parsed are dropped.
absl::Status FromGrpcStatus(const grpc::Status& status);

}  // namespace tessera::rpc

#endif  // TESSERA_SERVICES_RPC_GRPC_STATUS_H_
