#include "services/gateway/preprocessing_pool.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace tessera::gateway {

PreprocessingPool::PreprocessingPool(int64_t threads, int64_t max_waiting,
                                     telemetry::Gauge waiting_gauge)
    : max_waiting_(max_waiting), gauge_(waiting_gauge) {
  for (int64_t i = 0; i < threads; ++i) threads_.emplace_back([this] { Work(); });
}

PreprocessingPool::~PreprocessingPool() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

absl::Status PreprocessingPool::Submit(std::function<void()> job) {
  absl::MutexLock lock(&mutex_);
  if (static_cast<int64_t>(jobs_.size()) >= max_waiting_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the server is busy: ", max_waiting_, " requests wait for preprocessing"));
  }
  jobs_.push_back(std::move(job));
  gauge_.Set(static_cast<double>(jobs_.size()));
  return absl::OkStatus();
}

void PreprocessingPool::Work() {
  while (true) {
    std::function<void()> job;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &PreprocessingPool::HasWorkOrStops));
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
      gauge_.Set(static_cast<double>(jobs_.size()));
    }
    job();
  }
}

}  // namespace tessera::gateway
