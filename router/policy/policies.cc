#include <tuple>

#include "absl/strings/str_cat.h"
#include "router/policy/policy.h"

namespace tessera::router {

const WorkerView* ChooseLeastTokens(const RequestShape&,
                                    absl::Span<const WorkerView* const> eligible, uint64_t turn) {
  const auto burden = [](const WorkerView& worker) {
    return std::make_tuple(
        worker.load.outstanding_tokens + worker.reserved_tokens,
        worker.load.running_requests + worker.load.queued_requests + worker.reserved_requests);
  };
  // Starting at the turn's place makes equally idle workers take turns.
  const size_t count = eligible.size();
  const WorkerView* best = eligible[turn % count];
  for (size_t i = 1; i < count; ++i) {
    const WorkerView* other = eligible[(turn + i) % count];
    if (burden(*other) < burden(*best)) {
      best = other;
    }
  }
  return best;
}

const WorkerView* ChooseRoundRobin(const RequestShape&,
                                   absl::Span<const WorkerView* const> eligible, uint64_t turn) {
  return eligible[turn % eligible.size()];
}

absl::StatusOr<Policy> PolicyByName(std::string_view name) {
  if (name == "least_tokens") {
    return &ChooseLeastTokens;
  }
  if (name == "round_robin") {
    return &ChooseRoundRobin;
  }
  return absl::InvalidArgumentError(absl::StrCat("router.policy: \"",
                                                 absl::string_view(name.data(), name.size()),
                                                 "\" is not one of least_tokens, round_robin"));
}

}  // namespace tessera::router
