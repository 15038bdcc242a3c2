// Ranks on any hosts, over TCP by the library Gloo.
#ifndef TESSERA_WORKER_TRANSPORT_GLOO_COMMUNICATOR_H_
#define TESSERA_WORKER_TRANSPORT_GLOO_COMMUNICATOR_H_

#include <memory>

#include "absl/status/statusor.h"
#include "worker/transport/communicator.h"
#include "worker/transport/transport.h"

namespace tessera::transport {

// Ignores SIGPIPE in this process from now on if it has its default effect: Gloo writes to
// connections that a peer may have closed.
absl::StatusOr<std::unique_ptr<Communicator>> ConnectGloo(const ConnectOptions& options);

}  // namespace tessera::transport

#endif  // TESSERA_WORKER_TRANSPORT_GLOO_COMMUNICATOR_H_
