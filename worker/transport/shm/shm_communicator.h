// Ranks that are processes of one host, over rings in shared memory.
#ifndef TESSERA_WORKER_TRANSPORT_SHM_SHM_COMMUNICATOR_H_
#define TESSERA_WORKER_TRANSPORT_SHM_SHM_COMMUNICATOR_H_

#include <memory>

#include "absl/status/statusor.h"
#include "worker/transport/communicator.h"
#include "worker/transport/transport.h"

namespace tessera::transport {

// nullptr, on all ranks alike: they do not all share a host and its memory.
absl::StatusOr<std::unique_ptr<Communicator>> ConnectShmIfShared(const ConnectOptions& options);

}  // namespace tessera::transport

#endif  // TESSERA_WORKER_TRANSPORT_SHM_SHM_COMMUNICATOR_H_
