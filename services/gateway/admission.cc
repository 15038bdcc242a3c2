#include "services/gateway/admission.h"

#include "absl/strings/str_cat.h"

namespace tessera::gateway {

absl::StatusOr<Admission::Ticket> Admission::Admit() {
  if (closed_) return absl::UnavailableError("the server is shutting down");
  if (in_flight_.fetch_add(1) >= max_in_flight_) {
    in_flight_.fetch_sub(1);
    return absl::ResourceExhaustedError(
        absl::StrCat("the server is busy: ", max_in_flight_, " requests are in flight"));
  }
  gauge_.Add(1);
  return Ticket(this);
}

void Admission::Release() {
  gauge_.Add(-1);
  in_flight_.fetch_sub(1);
}

}  // namespace tessera::gateway
