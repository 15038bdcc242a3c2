// Of builds without CUDA or without NCCL.
#include "worker/transport/nccl_communicator.h"

namespace tessera::transport {

absl::StatusOr<std::unique_ptr<Communicator>> ConnectNccl(const ConnectOptions& options) {
  return absl::UnimplementedError("this build has no NCCL transport");
}

}  // namespace tessera::transport
