// The communicator back ends.
#ifndef TESSERA_WORKER_TRANSPORT_TRANSPORT_H_
#define TESSERA_WORKER_TRANSPORT_TRANSPORT_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/transport/communicator.h"
#include "worker/transport/rendezvous.h"

namespace tessera::transport {

// Ranks as threads of this process, for tests. result[r] is rank r's; destroying one is that rank's
// death.
std::vector<std::unique_ptr<Communicator>> MakeInProcess(int size);

struct ConnectOptions {
  int rank = 0;
  int size = 1;
  Rendezvous rendezvous;
  std::string round;  // prefix of the names of this communicator's rendezvous rounds
  absl::Time deadline = absl::InfiniteFuture();  // of connecting
  // Host name or address that other hosts reach this rank by; empty: loopback alone.
  std::string bind_host;
};

// "auto": "shm" if all ranks say that they share a host and its shared memory, else "gloo".
// "shm": rings in shared memory between processes of one host. "gloo": TCP.
// "nccl": GPUs; UNIMPLEMENTED in a build without CUDA, UNAVAILABLE without a GPU.
// All ranks name the same back end. INVALID_ARGUMENT: another name (lists them). UNAVAILABLE: "shm"
// where the ranks do not share a host; a peer that died meanwhile. DEADLINE_EXCEEDED: a rank that
// did not come. Gloo has the process ignore SIGPIPE.
absl::StatusOr<std::unique_ptr<Communicator>> Connect(std::string_view back_end,
                                                      const ConnectOptions& options);

}  // namespace tessera::transport

#endif  // TESSERA_WORKER_TRANSPORT_TRANSPORT_H_
