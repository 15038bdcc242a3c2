// A clock that moves only when the test says so.
#ifndef TESSERA_TESTS_SUPPORT_FAKE_CLOCK_H_
#define TESSERA_TESTS_SUPPORT_FAKE_CLOCK_H_

#include "absl/synchronization/mutex.h"
#include "services/base/clock.h"

namespace tessera::testing {

class FakeClock final : public Clock {
 public:
  absl::Time Now() const override {
    absl::MutexLock lock(&mutex_);
    return now_;
  }
  void Advance(absl::Duration by) {
    absl::MutexLock lock(&mutex_);
    now_ += by;
  }

 private:
  mutable absl::Mutex mutex_;
  absl::Time now_ ABSL_GUARDED_BY(mutex_) = absl::UnixEpoch() + absl::Hours(1);
};

}  // namespace tessera::testing

#endif  // TESSERA_TESTS_SUPPORT_FAKE_CLOCK_H_
