// How long to wait before a process that died is started again: doubling, bounded, forgotten after
// a healthy time.
#ifndef TESSERA_SERVICES_CLI_SUPERVISOR_BACKOFF_H_
#define TESSERA_SERVICES_CLI_SUPERVISOR_BACKOFF_H_

#include "absl/time/time.h"

namespace tessera::supervisor {

struct BackoffOptions {
  absl::Duration first = absl::Milliseconds(100);
  absl::Duration longest = absl::Seconds(30);
  absl::Duration healthy_after =
      absl::Seconds(60);  // a life of this length starts over with `first`
};

// Not thread safe.
class Backoff {
 public:
  explicit Backoff(BackoffOptions options = {}) : options_(options), next_(options.first) {}

  // lived: how long the process was ready before it died; zero if it never was.
  absl::Duration NextDelay(absl::Duration lived) {
    if (lived >= options_.healthy_after) {
      next_ = options_.first;
    }
    const absl::Duration delay = next_;
    next_ = next_ * 2 < options_.longest ? next_ * 2 : options_.longest;
    return delay;
  }

 private:
  BackoffOptions options_;
  absl::Duration next_;
};

}  // namespace tessera::supervisor

#endif  // TESSERA_SERVICES_CLI_SUPERVISOR_BACKOFF_H_
