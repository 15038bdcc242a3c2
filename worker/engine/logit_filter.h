// Pieces of the sampler that walk a whole row of logits. Pure functions, the same bits on every
// machine: plain IEEE arithmetic in a fixed order, no library exp.
#ifndef TESSERA_WORKER_ENGINE_LOGIT_FILTER_H_
#define TESSERA_WORKER_ENGINE_LOGIT_FILTER_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace tessera::engine {

// Index of the largest value; ties: the lowest index. values is not empty and holds no NaN.
int64_t ArgMax(absl::Span<const float> values);

// exp(x) for x <= 0 within 2e-15 relative; 0 below -708.
double ExpOfNegative(double x);
void ExpOfNegatives(absl::Span<double> values);  // in place

// The k-th largest value, 1 <= k <= values.size().
float KthLargest(absl::Span<const float> values, int64_t k);

// The tokens that may be drawn, by ascending id, with unnormalised weights.
struct WeightedTokens {
  std::vector<int32_t> ids;
  std::vector<double> weights;  // exp((logit - largest logit) / temperature), 0 below exp(-42)
  double total = 0;             // of weights, summed in the order of ids
};

// top_k: 0 is off; values equal to the k-th largest all stay. top_p: a token stays if the tokens
// before it, most likely first (ties: the lowest id), have less than top_p of the weight together.
WeightedTokens FilterTokens(absl::Span<const float> logits, double temperature, int64_t top_k,
                            double top_p);

}  // namespace tessera::engine

#endif  // TESSERA_WORKER_ENGINE_LOGIT_FILTER_H_
