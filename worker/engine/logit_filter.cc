#include "worker/engine/logit_filter.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "services/base/check.h"

namespace tessera::engine {
namespace {

constexpr int64_t kLanes = 16;

// Weights below exp of this are zero: all tokens of a vocabulary together would add less than 1e-13
// of the most likely one's weight, and the exponentials of the long tail cost most of the time.
constexpr double kNegligible = -42;

constexpr std::array<double, 14> kInverseFactorials = [] {
  std::array<double, 14> result{1};
  double factorial = 1;
  for (int i = 1; i < 14; ++i) result[i] = 1 / (factorial *= i);
  return result;
}();

// exp(x) = 2^n * exp(r), |r| <= ln(2) / 2, exp(r) by its Taylor series to the 13th power. Without
// branches, so that a loop over it becomes vector code.
inline double Exponential(double x) {
  constexpr double kInverseLn2 = 1.4426950408889634;
  constexpr double kLn2High = 6.93147180369123816490e-01;
  constexpr double kLn2Low = 1.90821492927058770002e-10;
  constexpr double kRounder = 0x1.8p52;  // adding it leaves the nearest integer in the low bits
  const double clamped = x >= -708 ? x : -708;
  const double shifted = clamped * kInverseLn2 + kRounder;
  const double n = shifted - kRounder;
  const double r = (clamped - n * kLn2High) - n * kLn2Low;
  double sum = kInverseFactorials[13];
#pragma GCC unroll 13
  for (int power = 12; power >= 0; --power) sum = sum * r + kInverseFactorials[power];
  const uint64_t scale = (__builtin_bit_cast(uint64_t, shifted) + 1023) << 52;
  const double result = sum * __builtin_bit_cast(double, scale);
  return x >= -708 ? result : 0;
}

float MaxOf(absl::Span<const float> values) {
  std::array<float, kLanes> best;
  best.fill(-std::numeric_limits<float>::infinity());
  const int64_t whole = static_cast<int64_t>(values.size()) / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const float value = values[i + lane];
      best[lane] = value > best[lane] ? value : best[lane];
    }
  }
  float result = *std::max_element(best.begin(), best.end());
  for (size_t i = whole; i < values.size(); ++i) result = std::max(result, values[i]);
  return result;
}

// Ids of the values that are at least `bound`, ascending.
std::vector<int32_t> IdsAtLeast(absl::Span<const float> values, float bound) {
  std::vector<int32_t> ids;
  ids.reserve(values.size());  // pages that stay untouched cost nothing
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] >= bound) ids.push_back(static_cast<int32_t>(i));
  }
  return ids;
}

// Positions in tokens.ids of those that top-p keeps, ascending. Sorts only as many of the most
// likely tokens as are needed to collect the weight.
std::vector<int32_t> NucleusOf(const WeightedTokens& tokens, double top_p) {
  std::vector<int32_t> order;
  const double goal = top_p * tokens.total;
  // Weights below `bound` are left out; widened until what stands above is enough.
  for (double bound = 0x1.0p-7;; bound *= 0x1.0p-14) {
    if (bound < 0x1.0p-100) bound = 0;
    order.clear();
    double collected = 0;
    for (size_t i = 0; i < tokens.ids.size(); ++i) {
      if (tokens.weights[i] < bound) continue;
      order.push_back(static_cast<int32_t>(i));
      collected += tokens.weights[i];
    }
    // The margin covers the rounding of sums taken in another order.
    if (bound == 0 || collected > goal * (1 + 1e-9)) break;
  }
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return tokens.weights[a] != tokens.weights[b] ? tokens.weights[a] > tokens.weights[b] : a < b;
  });
  size_t kept = 0;
  for (double before = 0; kept < order.size() && (kept == 0 || before < goal); ++kept) {
    before += tokens.weights[order[kept]];
  }
  order.resize(kept);
  std::sort(order.begin(), order.end());
  return order;
}

}  // namespace

int64_t ArgMax(absl::Span<const float> values) {
  TESSERA_CHECK(!values.empty());
  const float largest = MaxOf(values);
  return std::find(values.begin(), values.end(), largest) - values.begin();
}

double ExpOfNegative(double x) { return Exponential(x); }

void ExpOfNegatives(absl::Span<double> values) {
  for (double& value : values) value = Exponential(value);
}

float KthLargest(absl::Span<const float> values, int64_t k) {
  TESSERA_CHECK(k >= 1 && k <= static_cast<int64_t>(values.size())) << k;
  // A buffer of candidates above a rising floor: each refill throws half of it away, so the cost is
  // linear and nearly all values meet one comparison.
  const size_t capacity = static_cast<size_t>(std::max<int64_t>(2 * k, 1024));
  std::vector<float> buffer;
  buffer.reserve(capacity);
  float floor = -std::numeric_limits<float>::infinity();
  const auto shrink = [&] {
    std::nth_element(buffer.begin(), buffer.begin() + (k - 1), buffer.end(), std::greater<>());
    buffer.resize(k);
    floor = buffer[k - 1];
  };
  for (const float value : values) {
    if (value < floor) continue;
    buffer.push_back(value);
    if (buffer.size() == capacity) shrink();
  }
  shrink();
  return floor;
}

WeightedTokens FilterTokens(absl::Span<const float> logits, double temperature, int64_t top_k,
                            double top_p) {
  WeightedTokens tokens;
  const double largest = MaxOf(logits);
  if (top_k > 0 && top_k < static_cast<int64_t>(logits.size())) {
    tokens.ids = IdsAtLeast(logits, KthLargest(logits, top_k));
  } else if (top_p < 1) {
    // What weighs nothing is in no nucleus.
    tokens.ids = IdsAtLeast(logits, static_cast<float>(largest + kNegligible * temperature));
  } else {
    tokens.ids.resize(logits.size());
    std::iota(tokens.ids.begin(), tokens.ids.end(), 0);
  }
  tokens.weights.resize(tokens.ids.size());
  for (size_t i = 0; i < tokens.ids.size(); ++i) {
    // The difference comes first: a tiny temperature then gives -inf, never inf - inf.
    const double distance = static_cast<double>(logits[tokens.ids[i]]) - largest;
    const double exponent = distance == 0 ? 0 : distance / temperature;
    tokens.weights[i] = exponent >= kNegligible ? exponent : -1000;
  }
  ExpOfNegatives(absl::MakeSpan(tokens.weights));
  tokens.total = std::accumulate(tokens.weights.begin(), tokens.weights.end(), 0.0);
  if (top_p >= 1) return tokens;

  WeightedTokens nucleus;
  for (const int32_t position : NucleusOf(tokens, top_p)) {
    nucleus.ids.push_back(tokens.ids[position]);
    nucleus.weights.push_back(tokens.weights[position]);
  }
  nucleus.total = std::accumulate(nucleus.weights.begin(), nucleus.weights.end(), 0.0);
  return nucleus;
}

}  // namespace tessera::engine
