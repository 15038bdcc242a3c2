// Calls from this worker to other workers. Third-party types stand here because this is the gRPC
// edge itself; no other module includes it.
#ifndef TESSERA_WORKER_SERVICE_PEER_CALLS_H_
#define TESSERA_WORKER_SERVICE_PEER_CALLS_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "tessera/v1/worker.grpc.pb.h"

namespace tessera::worker {

// Thread safe. Channels are kept, at most kMaxChannels of them.
class PeerCalls {
 public:
  PeerCalls() = default;
  ~PeerCalls();  // cancels what is under way
  PeerCalls(const PeerCalls&) = delete;
  PeerCalls& operator=(const PeerCalls&) = delete;

  // A stub over the kept channel to host:port; stays good for as long as it is held.
  std::shared_ptr<v1::WorkerService::Stub> StubOf(const std::string& address);

  // Sent and forgotten: none waits, and a failure is nobody's business.
  void Wake(const std::string& address, const std::string& group, uint64_t epoch, uint64_t step);
  void ReleaseHandoff(const std::string& address, const std::string& handoff_id);

 private:
  static constexpr size_t kMaxChannels = 128;

  // call: keeps the context alive.
  void Began(grpc::ClientContext& context, std::shared_ptr<void> call);
  void Ended(grpc::ClientContext& context);

  std::mutex mutex_;  // guards all below
  std::condition_variable ended_;
  std::map<grpc::ClientContext*, std::shared_ptr<void>> under_way_;
  std::map<std::string, std::shared_ptr<v1::WorkerService::Stub>> stubs_;
};

}  // namespace tessera::worker

#endif  // TESSERA_WORKER_SERVICE_PEER_CALLS_H_
