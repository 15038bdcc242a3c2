// Turns a row of logits into a token. Order as in the reference: penalties, temperature, top-k,
// top-p, softmax, one draw.
#ifndef TESSERA_WORKER_ENGINE_SAMPLER_H_
#define TESSERA_WORKER_ENGINE_SAMPLER_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace tessera::engine {

struct SamplingParams {
  int64_t max_tokens = 512;       // >= 1
  int64_t min_tokens = 0;         // stop tokens are not sampled before so many
  double temperature = 0;         // 0: greedy (ties: the lowest id); up to 100
  double top_p = 1;               // (0, 1]
  int64_t top_k = 0;              // 0: off
  double repetition_penalty = 1;  // (0, 10]; counts prompt and generated ids
  double presence_penalty = 0;    // [-2, 2]; generated ids
  double frequency_penalty = 0;   // [-2, 2]; generated ids
  uint64_t seed = 0;              // key of the request's random stream
  uint32_t choice = 0;            // which of n answers: part of the key
  bool ignore_eos = false;
  int32_t num_logprobs =
      -1;  // -1: none; 0: of the token drawn; up to 20: and of the most likely ones
};

// INVALID_ARGUMENT names the field, its value and the bound. NaN is refused everywhere.
absl::Status ValidateSamplingParams(const SamplingParams& params);

struct TokenLogprobs {
  bool present = false;
  float logprob = 0;  // of the drawn token, natural log, of the unmodified logits
  std::vector<std::pair<int32_t, float>> top;  // most likely first; ties: the lowest id first
};

// What survives top-k and top-p, most likely first, with probabilities that sum to 1 (exposed for
// the goldens in sampling/cases.json).
struct KeptTokens {
  std::vector<int32_t> ids;
  std::vector<double> probs;
};
// logits: [vocab], modified in place by the penalties. previous_ids: what the repetition penalty
// counts.
KeptTokens KeepTokens(absl::Span<float> logits, absl::Span<const int32_t> previous_ids,
                      const SamplingParams& params);

struct SampledToken {
  int32_t id = 0;
  TokenLogprobs logprobs;
};

// context: prompt and generated ids so far; the first num_prompt_tokens of them are the prompt.
// position = number of generated ids before this one. The draw is Philox4x32-10 keyed by (seed,
// choice) at counter `position`: it does not depend on batch, rank or history of draws. forbidden:
// ids that may not be drawn now (stop tokens before min_tokens). scratch is the caller's, reused.
SampledToken SampleToken(absl::Span<const float> logits, absl::Span<const int32_t> context,
                         int64_t num_prompt_tokens, absl::Span<const int32_t> forbidden,
                         const SamplingParams& params, std::vector<float>& scratch);

}  // namespace tessera::engine

#endif  // TESSERA_WORKER_ENGINE_SAMPLER_H_
