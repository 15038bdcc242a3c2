// Public sampling parameters to the worker's, with defaults and bounds.
#ifndef TESSERA_SERVICES_GATEWAY_API_SAMPLING_H_
#define TESSERA_SERVICES_GATEWAY_API_SAMPLING_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tessera/v1/inference.pb.h"
#include "tessera/v1/worker.pb.h"

namespace tessera::gateway {

// All bounds that do not depend on the prompt. INVALID_ARGUMENT names the field, its value and the
// bound.
absl::Status CheckSampling(const v1::SamplingParameters& sampling);

// The worker's parameters of choice 0. sampling passed CheckSampling; drawn_seed is used if none is
// given. INVALID_ARGUMENT: max_tokens beyond what the prompt leaves of the context (says the rest),
// min_tokens above max_tokens.
absl::StatusOr<v1::DecodeSampling> ResolveSampling(const v1::SamplingParameters& sampling,
                                                   int64_t prompt_tokens, int64_t context_tokens,
                                                   int32_t end_token_id, uint64_t drawn_seed);

}  // namespace tessera::gateway

#endif  // TESSERA_SERVICES_GATEWAY_API_SAMPLING_H_
