#include "services/base/clock.h"

#include "absl/time/clock.h"

namespace tessera {
namespace {

class RealClock final : public Clock {
 public:
  absl::Time Now() const override { return absl::Now(); }
};

}  // namespace

const Clock& Clock::Real() {
  static const auto* clock = new RealClock;  // never destroyed: threads may ask during exit
  return *clock;
}

}  // namespace tessera
