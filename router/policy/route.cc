#include "router/policy/route.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "router/policy/pools.h"

namespace tessera::router {
namespace {

struct Pools {
  Pool both;
  Pool prefill;
  Pool decode;
};

// Rows of K and V go from one to the other as they are.
bool CanHandOver(const WorkerView& prefill, const WorkerView& decode) {
  return prefill.description.numerics == decode.description.numerics &&
         prefill.description.kv_block_size_tokens == decode.description.kv_block_size_tokens;
}

std::vector<const WorkerView*> Partners(const WorkerView& prefill, const Pool& decode) {
  std::vector<const WorkerView*> partners;
  for (const WorkerView* worker : decode.eligible) {
    if (CanHandOver(prefill, *worker)) {
      partners.push_back(worker);
    }
  }
  return partners;
}

// Of prefill and decode taken together: the worse of the two decides.
PoolState SplitState(const Pools& pools) {
  const PoolState prefill = pools.prefill.state();
  const PoolState decode = pools.decode.state();
  const auto either = [&](PoolState state) { return prefill == state || decode == state; };
  if (prefill == PoolState::kAbsent && decode == PoolState::kAbsent) {
    return PoolState::kAbsent;
  }
  if (either(PoolState::kTooSmall)) {
    return PoolState::kTooSmall;
  }
  if (either(PoolState::kAbsent) || either(PoolState::kUnavailable)) {
    return PoolState::kUnavailable;
  }
  return either(PoolState::kFull) ? PoolState::kFull : PoolState::kUnavailable;
}

std::string Reasons(const Pools& pools) {
  if (SplitState(pools) == PoolState::kAbsent) {
    return pools.both.WhyNot();
  }
  std::string text;
  const auto add = [&text](absl::string_view name, const Pool& pool) {
    if (pool.eligible.empty()) {
      absl::StrAppend(&text, text.empty() ? "" : "; ", name, " pool: ", pool.WhyNot());
    }
  };
  if (pools.both.size > 0) {
    add("unsplit", pools.both);
  }
  add("prefill", pools.prefill);
  add("decode", pools.decode);
  if (!pools.prefill.eligible.empty() && !pools.decode.eligible.empty()) {
    absl::StrAppend(&text, text.empty() ? "" : "; ",
                    "prefill and decode pool differ in numerics or KV block size");
  }
  return text;
}

absl::Status NoRoute(const Pools& pools, size_t num_workers) {
  if (num_workers == 0) {
    return absl::UnavailableError("no worker is registered");
  }
  const std::string message =
      absl::StrCat("none of ", num_workers, " workers can take the request: ", Reasons(pools));
  const PoolState both = pools.both.state();
  const PoolState split = SplitState(pools);
  if (both == PoolState::kFull || split == PoolState::kFull) {
    return absl::ResourceExhaustedError(message);
  }
  const auto never = [](PoolState state) {
    return state == PoolState::kTooSmall || state == PoolState::kAbsent;
  };
  return never(both) && never(split) ? absl::OutOfRangeError(message)
                                     : absl::UnavailableError(message);
}

}  // namespace

absl::StatusOr<Route> ChooseRoute(const RequestShape& shape, const ClusterSnapshot& snapshot,
                                  Policy policy, uint64_t turn) {
  const Pools pools = {FindPool(WorkerRole::kBoth, shape, snapshot),
                       FindPool(WorkerRole::kPrefill, shape, snapshot),
                       FindPool(WorkerRole::kDecode, shape, snapshot)};
  std::vector<const WorkerView*> candidates = pools.both.eligible;
  for (const WorkerView* prefill : pools.prefill.eligible) {
    if (!Partners(*prefill, pools.decode).empty()) {
      candidates.push_back(prefill);
    }
  }
  if (candidates.empty()) {
    return NoRoute(pools, snapshot.workers.size());
  }
  const WorkerView* chosen = policy(shape, candidates, turn);
  if (chosen->description.role == WorkerRole::kBoth) {
    return Route{chosen, chosen};
  }
  return Route{chosen, ChooseDecodeRank(Partners(*chosen, pools.decode), turn)};
}

}  // namespace tessera::router
