// Connections to workers, kept between calls.
#ifndef TESSERA_SERVICES_GATEWAY_DISPATCH_WORKER_CHANNELS_H_
#define TESSERA_SERVICES_GATEWAY_DISPATCH_WORKER_CHANNELS_H_

#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "tessera/v1/worker.grpc.pb.h"

namespace tessera::gateway {

struct WorkerChannel {
  std::shared_ptr<grpc::Channel> channel;
  std::shared_ptr<v1::WorkerService::StubInterface> stub;
};

// What a call's end can know of the worker's process.
enum class Connection {
  kUp,       // the process answers
  kLost,     // it was connected, or may have been
  kNeverUp,  // connecting to it failed: the call has not reached it
};

Connection ConnectionOf(grpc::Channel& channel);

// Thread safe.
class WorkerChannels {
 public:
  // For host:port, connected on first use. Calls under way keep a forgotten one alive.
  WorkerChannel Get(const std::string& address);
  // After a failure: the next Get connects anew.
  void Forget(const std::string& address);

 private:
  // Far above a cluster's size; restarted workers on new ports would otherwise add up.
  static constexpr size_t kMaxChannels = 256;

  absl::Mutex mutex_;
  std::map<std::string, WorkerChannel> channels_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tessera::gateway

#endif  // TESSERA_SERVICES_GATEWAY_DISPATCH_WORKER_CHANNELS_H_
