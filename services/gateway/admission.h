// Bounds the calls that are in work at once.
#ifndef TESSERA_SERVICES_GATEWAY_ADMISSION_H_
#define TESSERA_SERVICES_GATEWAY_ADMISSION_H_

#include <atomic>
#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "services/telemetry/metrics.h"

namespace tessera::gateway {

// Thread safe; outlives its tickets.
class Admission {
 public:
  // Counts one call from Admit to its end.
  class Ticket {
   public:
    Ticket() = default;
    explicit Ticket(Admission* admission) : admission_(admission) {}
    Ticket(Ticket&& other) noexcept : admission_(std::exchange(other.admission_, nullptr)) {}
    Ticket& operator=(Ticket&& other) noexcept {
      std::swap(admission_, other.admission_);
      return *this;
    }
    ~Ticket() {
      if (admission_ != nullptr) admission_->Release();
    }

   private:
    Admission* admission_ = nullptr;
  };

  Admission(int64_t max_in_flight, telemetry::Gauge in_flight_gauge)
      : max_in_flight_(max_in_flight), gauge_(in_flight_gauge) {}

  // RESOURCE_EXHAUSTED: too many calls are in flight; UNAVAILABLE: closed.
  absl::StatusOr<Ticket> Admit();
  // No more calls: the process drains.
  void Close() { closed_ = true; }
  int64_t in_flight() const { return in_flight_; }

 private:
  void Release();

  const int64_t max_in_flight_;
  const telemetry::Gauge gauge_;
  std::atomic<int64_t> in_flight_{0};
  std::atomic<bool> closed_{false};
};

}  // namespace tessera::gateway

#endif  // TESSERA_SERVICES_GATEWAY_ADMISSION_H_
