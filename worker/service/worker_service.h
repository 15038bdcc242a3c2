// tessera.v1.WorkerService over an engine.
#ifndef TESSERA_WORKER_SERVICE_WORKER_SERVICE_H_
#define TESSERA_WORKER_SERVICE_WORKER_SERVICE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "worker/engine/engine.h"
#include "worker/service/handoff.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace tessera::worker {

inline constexpr char kWorkerServiceName[] = "tessera.v1.WorkerService";

struct WorkerServiceOptions {
  std::string model_revision;         // hexadecimal; requests for another one are refused
  size_t max_buffered_tokens = 1024;  // of one call; a caller that lags further behind loses it
  // Epoch of this worker's registration, 0: none; routes of an earlier one are stale. Thread safe.
  std::function<uint64_t()> epoch = [] { return uint64_t{0}; };
  // Whether a call of Wake is news; not set: none is. Thread safe.
  std::function<bool(std::string_view group, uint64_t epoch, uint64_t step)> is_wake_due;
  // Not set: calls of a handoff are UNIMPLEMENTED.
  std::optional<HandoffOptions> handoff;
  int64_t max_handoff_bytes = 512 << 20;  // of rows that wait to be sent, in all calls together
};

// engine and peers outlive the service, and the service all its calls.
std::unique_ptr<grpc::Service> MakeWorkerService(engine::Engine& engine, PeerCalls& peers,
                                                 WorkerServiceOptions options);

}  // namespace tessera::worker

#endif  // TESSERA_WORKER_SERVICE_WORKER_SERVICE_H_
