// A clock that moves only when the test says so.
#ifndef TESSERA_TESTS_SUPPORT_FAKE_CLOCK_H_
#define TESSERA_TESTS_SUPPORT_FAKE_CLOCK_H_

#include <mutex>

#include "services/base/clock.h"

namespace tessera::testing {

class FakeClock final : public Clock {
 public:
  absl::Time Now() const override {
    const std::lock_guard lock(mutex_);
    return now_;
  }
  void Advance(absl::Duration by) {
    const std::lock_guard lock(mutex_);
    now_ += by;
  }

 private:
  mutable std::mutex mutex_;
  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
};

}  // namespace tessera::testing

#endif  // TESSERA_TESTS_SUPPORT_FAKE_CLOCK_H_
