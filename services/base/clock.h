// Time as a value that is handed down, so that tests turn the clock by hand
// (tests/support/fake_clock.h).
#ifndef TESSERA_SERVICES_BASE_CLOCK_H_
#define TESSERA_SERVICES_BASE_CLOCK_H_

#include "absl/time/time.h"

namespace tessera {

class Clock {
 public:
  virtual ~Clock() = default;
  // Monotonic enough for leases and deadlines: wall time, never used for ordering events. Thread
  // safe.
  virtual absl::Time Now() const = 0;

  static const Clock& Real();  // absl::Now
};

}  // namespace tessera

#endif  // TESSERA_SERVICES_BASE_CLOCK_H_
