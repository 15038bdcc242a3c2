// The MoE router. At most 512 scores a row: its cost vanishes beside the expert products, so all
// tables share this one, and routing is the same on every instruction set given the same logits.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/check.h"
#include "kernels/cpu_stream.h"
#include "kernels/ops.h"

namespace tessera::kernels::shared {
namespace {

constexpr int64_t kMaxExperts = 512;
constexpr int64_t kMaxTopK = 32;

void Scores(GateScoring scoring, const float* logits, int64_t count, float* scores) {
  if (scoring == GateScoring::kSigmoid) {
    for (int64_t e = 0; e < count; ++e) scores[e] = 1.0f / (1.0f + std::exp(-logits[e]));
    return;
  }
  float max = logits[0];
  for (int64_t e = 1; e < count; ++e) max = logits[e] > max ? logits[e] : max;
  float sum = 0;
  for (int64_t e = 0; e < count; ++e) {
    scores[e] = std::exp(logits[e] - max);
    sum += scores[e];
  }
  for (int64_t e = 0; e < count; ++e) scores[e] /= sum;
}

struct Candidate {
  float value;
  int32_t index;
};

// NaN counts as largest, so that the order is strict and a poisoned row cannot index out of range.
bool IsBefore(const Candidate& a, const Candidate& b) {
  return (std::isnan(a.value) && !std::isnan(b.value)) || a.value > b.value;
}

// Marks exactly `top` of values[0, count), the largest. Equal values are no rarity: with noaux_tc
// all experts of dropped groups have the choice score 0. Which of them wins is what the reference's
// library does, and that is this algorithm of the standard library on (value, index) in index order
// (golden model noaux_groups holds it to that).
void MarkTop(const float* values, int64_t count, int64_t top, bool* chosen) {
  Candidate order[kMaxExperts];
  for (int64_t i = 0; i < count; ++i) {
    order[i] = {values[i], static_cast<int32_t>(i)};
    chosen[i] = false;
  }
  if (top * 64 <= count) {
    std::partial_sort(order, order + top, order + count, IsBefore);
  } else {
    std::nth_element(order, order + top - 1, order + count, IsBefore);
  }
  for (int64_t i = 0; i < top; ++i) chosen[order[i].index] = true;
}

// The score that ranks a group: its best choice score, or the sum of its two best.
float GroupScore(const float* choice, int64_t count, bool sum_of_two) {
  float first = -std::numeric_limits<float>::infinity();
  float second = first;
  for (int64_t i = 0; i < count; ++i) {
    if (choice[i] > first) {
      second = first;
      first = choice[i];
    } else if (choice[i] > second) {
      second = choice[i];
    }
  }
  return sum_of_two && count > 1 ? first + second : first;
}

void DropGroups(const GateParams& params, float* choice) {
  float group_scores[kMaxExperts];
  bool kept[kMaxExperts];
  const int64_t size = params.num_experts / params.num_groups;
  const bool sum_of_two = params.method == GateMethod::kNoAuxTc;
  for (int64_t g = 0; g < params.num_groups; ++g) {
    group_scores[g] = GroupScore(choice + g * size, size, sum_of_two);
  }
  MarkTop(group_scores, params.num_groups, params.top_k_groups, kept);
  for (int64_t e = 0; e < params.num_experts; ++e) {
    if (!kept[e / size]) choice[e] = 0;
  }
}

void GateRow(const GateParams& params, const float* logits, int32_t* ids, float* weights) {
  float scores[kMaxExperts];
  float choice[kMaxExperts];
  bool chosen[kMaxExperts];
  const int64_t count = params.num_experts;
  Scores(params.scoring, logits, count, scores);
  const bool biased = params.method == GateMethod::kNoAuxTc;
  for (int64_t e = 0; e < count; ++e) {
    choice[e] = biased ? scores[e] + params.score_correction_bias[e] : scores[e];
  }
  if (params.method != GateMethod::kGreedy) DropGroups(params, choice);
  MarkTop(choice, count, params.top_k, chosen);

  // With group_limited_greedy the reference takes the masked scores as weights.
  const float* values = params.method == GateMethod::kGroupLimitedGreedy ? choice : scores;
  int64_t out = 0;
  float sum = 0;
  for (int64_t e = 0; e < count; ++e) {
    if (!chosen[e]) continue;
    ids[out] = static_cast<int32_t>(e);
    weights[out++] = values[e];
    sum += values[e];
  }
  const bool normalise = params.norm_top_k_prob && params.top_k > 1;
  for (int64_t j = 0; j < params.top_k; ++j) {
    if (normalise) weights[j] /= sum + 1e-20f;
    weights[j] *= params.routed_scaling_factor;
  }
}

}  // namespace

void Gate(Stream& stream, const GateParams& params, ConstMat logits, int32_t* ids, float* weights) {
  KERNEL_CHECK(params.num_experts >= 1 && params.num_experts <= kMaxExperts);
  KERNEL_CHECK(params.top_k >= 1 && params.top_k <= kMaxTopK);
  KERNEL_CHECK(params.top_k <= params.num_experts && logits.cols == params.num_experts);
  KERNEL_CHECK(params.num_groups >= 1 && params.num_experts % params.num_groups == 0);
  KERNEL_CHECK(params.top_k_groups >= 1 && params.top_k_groups <= params.num_groups);
  KERNEL_CHECK(params.method != GateMethod::kNoAuxTc || params.score_correction_bias != nullptr);
  const int64_t work = params.num_experts * (16 + params.top_k);
  ParallelRanges(stream, logits.rows, work, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      GateRow(params, logits.row(t), ids + t * params.top_k, weights + t * params.top_k);
    }
  });
}

}  // namespace tessera::kernels::shared
