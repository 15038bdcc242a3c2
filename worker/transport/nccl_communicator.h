// Ranks that own a GPU each, over NCCL. Buffers are host memory: they pass through the device.
#ifndef TESSERA_WORKER_TRANSPORT_NCCL_COMMUNICATOR_H_
#define TESSERA_WORKER_TRANSPORT_NCCL_COMMUNICATOR_H_

#include <memory>

#include "absl/status/statusor.h"
#include "worker/transport/communicator.h"
#include "worker/transport/transport.h"

namespace tessera::transport {

// UNIMPLEMENTED: a build without CUDA or NCCL. UNAVAILABLE: no GPU, or NCCL cannot use it.
absl::StatusOr<std::unique_ptr<Communicator>> ConnectNccl(const ConnectOptions& options);

}  // namespace tessera::transport

#endif  // TESSERA_WORKER_TRANSPORT_NCCL_COMMUNICATOR_H_
