#include <tuple>

#include "absl/strings/str_cat.h"
#include "router/policy/policy.h"

namespace tessera::router {
namespace {

int64_t Outstanding(const WorkerView& worker) {
  return worker.load.outstanding_tokens + worker.reserved_tokens;
}

int64_t Requests(const WorkerView& worker) {
  return worker.load.running_requests + worker.load.queued_requests + worker.reserved_requests;
}

// The worker with the least burden. Starting at the turn's place makes equals take turns.
template <typename Burden>
const WorkerView* Least(absl::Span<const WorkerView* const> eligible, uint64_t turn,
                        const Burden& burden) {
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

}  // namespace

const WorkerView* ChooseLeastTokens(const RequestShape&,
                                    absl::Span<const WorkerView* const> eligible, uint64_t turn) {
  return Least(eligible, turn, [](const WorkerView& worker) {
    return std::make_tuple(Outstanding(worker), Requests(worker));
  });
}

const WorkerView* ChooseRoundRobin(const RequestShape&,
                                   absl::Span<const WorkerView* const> eligible, uint64_t turn) {
  return eligible[turn % eligible.size()];
}

const WorkerView* ChooseByPrefix(const RequestShape& shape,
                                 absl::Span<const WorkerView* const> eligible, uint64_t turn) {
  return Least(eligible, turn, [&shape](const WorkerView& worker) {
    return std::make_tuple(shape.prompt_tokens - worker.known_prefix_tokens + Outstanding(worker),
                           Requests(worker));
  });
}

const WorkerView* ChooseDecodeRank(absl::Span<const WorkerView* const> eligible, uint64_t turn) {
  return Least(eligible, turn, [](const WorkerView& worker) {
    return std::make_tuple(Outstanding(worker), worker.load.kv_blocks_used, Requests(worker));
  });
}

absl::StatusOr<Policy> PolicyByName(std::string_view name) {
  if (name == "least_tokens") {
    return &ChooseLeastTokens;
  }
  if (name == "round_robin") {
    return &ChooseRoundRobin;
  }
  if (name == "prefix") {
    return &ChooseByPrefix;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("router.policy: \"", absl::string_view(name.data(), name.size()),
                   "\" is not one of least_tokens, round_robin, prefix"));
}

}  // namespace tessera::router
