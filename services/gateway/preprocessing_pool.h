// Threads that decode pictures and tokenize, so that this never holds up the threads that move
// streams.
#ifndef TESSERA_SERVICES_GATEWAY_PREPROCESSING_POOL_H_
#define TESSERA_SERVICES_GATEWAY_PREPROCESSING_POOL_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "services/telemetry/metrics.h"

namespace tessera::gateway {

// Thread safe.
class PreprocessingPool {
 public:
  // max_waiting: jobs that may wait beyond those that run.
  PreprocessingPool(int64_t threads, int64_t max_waiting, telemetry::Gauge waiting_gauge);
  ~PreprocessingPool();  // runs what still waits, then joins

  // RESOURCE_EXHAUSTED: the queue is full. Jobs start in order.
  absl::Status Submit(std::function<void()> job);

 private:
  void Work();
  bool HasWorkOrStops() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return stopping_ || !jobs_.empty();
  }

  const int64_t max_waiting_;
  const telemetry::Gauge gauge_;
  absl::Mutex mutex_;
  std::deque<std::function<void()>> jobs_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace tessera::gateway

#endif  // TESSERA_SERVICES_GATEWAY_PREPROCESSING_POOL_H_
