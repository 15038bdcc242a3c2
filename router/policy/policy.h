// Policies: which of the workers that can take a request takes it. Pure functions: no clock, no
// lock, no state.
#ifndef TESSERA_ROUTER_POLICY_POLICY_H_
#define TESSERA_ROUTER_POLICY_POLICY_H_

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "router/policy/cluster.h"

namespace tessera::router {

// Picks among eligible workers (at least one). turn: a number that grows by one with each request.
using Policy = const WorkerView* (*)(const RequestShape& shape,
                                     absl::Span<const WorkerView* const> eligible, uint64_t turn);

// The fewest outstanding tokens, reservations included; ties: the fewest requests, then in turn.
const WorkerView* ChooseLeastTokens(const RequestShape& shape,
                                    absl::Span<const WorkerView* const> eligible, uint64_t turn);
// One after the other.
const WorkerView* ChooseRoundRobin(const RequestShape& shape,
                                   absl::Span<const WorkerView* const> eligible, uint64_t turn);
// The fewest tokens until this prompt is computed: those of it that the worker does not know yet
// plus the worker's outstanding ones. So a long known prefix wins unless that worker is much busier
// than another. Ties as above. Pictures count as text does: their identity is in the blocks'
// hashes.
const WorkerView* ChooseByPrefix(const RequestShape& shape,
                                 absl::Span<const WorkerView* const> eligible, uint64_t turn);

// The decode rank for a prefill rank that was chosen: the fewest outstanding tokens, then the least
// KV in use, then the fewest requests, then in turn.
const WorkerView* ChooseDecodeRank(absl::Span<const WorkerView* const> eligible, uint64_t turn);

// "least_tokens", "round_robin" or "prefix"; anything else is INVALID_ARGUMENT that names them.
absl::StatusOr<Policy> PolicyByName(std::string_view name);

}  // namespace tessera::router

#endif  // TESSERA_ROUTER_POLICY_POLICY_H_
