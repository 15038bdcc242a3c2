#include "worker/engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "services/base/check.h"
#include "worker/engine/logit_filter.h"
#include "worker/engine/philox.h"

namespace tessera::engine {
namespace {

float Penalised(float logit, double penalty) {
  const auto factor = static_cast<float>(penalty);
  return logit < 0 ? logit * factor : logit / factor;
}

// ids of the answer so far; each distinct id once, its count times.
void ApplyAnswerPenalties(absl::Span<float> logits, absl::Span<const int32_t> generated_ids,
                          const SamplingParams& params) {
  std::vector<int32_t> ids(generated_ids.begin(), generated_ids.end());
  std::sort(ids.begin(), ids.end());
  for (size_t begin = 0; begin < ids.size();) {
    size_t end = begin;
    while (end < ids.size() && ids[end] == ids[begin]) ++end;
    const double cut =
        params.presence_penalty + params.frequency_penalty * static_cast<double>(end - begin);
    logits[ids[begin]] = static_cast<float>(logits[ids[begin]] - cut);
    begin = end;
  }
}

// Whether the logits have to be changed before a token is chosen.
bool ChangesLogits(absl::Span<const int32_t> forbidden, const SamplingParams& params) {
  return !forbidden.empty() || params.repetition_penalty != 1 || params.presence_penalty != 0 ||
         params.frequency_penalty != 0;
}

int32_t Draw(absl::Span<const float> logits, int64_t position, const SamplingParams& params) {
  if (params.temperature == 0) return static_cast<int32_t>(ArgMax(logits));
  const WeightedTokens tokens =
      FilterTokens(logits, params.temperature, params.top_k, params.top_p);
  const double goal =
      UniformDraw(params.seed, params.choice, static_cast<uint64_t>(position)) * tokens.total;
  double sum = 0;
  int32_t last = tokens.ids.front();
  for (size_t i = 0; i < tokens.ids.size(); ++i) {
    if (tokens.weights[i] == 0) continue;
    last = tokens.ids[i];
    sum += tokens.weights[i];
    if (goal < sum) break;
  }
  return last;
}

TokenLogprobs LogprobsOf(absl::Span<const float> logits, int32_t drawn, int32_t num_top) {
  const double largest = logits[ArgMax(logits)];
  std::vector<double> weights(logits.begin(), logits.end());
  for (double& weight : weights) weight -= largest;
  ExpOfNegatives(absl::MakeSpan(weights));
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  const double log_total = std::log(total);
  const auto logprob = [&](int32_t id) {
    return static_cast<float>(logits[id] - largest - log_total);
  };
  TokenLogprobs result;
  result.present = true;
  result.logprob = logprob(drawn);
  const int64_t count = std::min<int64_t>(num_top, static_cast<int64_t>(logits.size()));
  if (count == 0) return result;

  const float bound = KthLargest(logits, count);
  std::vector<int32_t> ids;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] >= bound) ids.push_back(static_cast<int32_t>(i));
  }
  std::stable_sort(ids.begin(), ids.end(),
                   [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  ids.resize(count);
  for (const int32_t id : ids) result.top.emplace_back(id, logprob(id));
  return result;
}

}  // namespace

KeptTokens KeepTokens(absl::Span<float> logits, absl::Span<const int32_t> previous_ids,
                      const SamplingParams& params) {
  if (params.repetition_penalty != 1) {
    std::vector<int32_t> ids(previous_ids.begin(), previous_ids.end());
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    for (const int32_t id : ids) logits[id] = Penalised(logits[id], params.repetition_penalty);
  }
  if (params.temperature == 0) return {{static_cast<int32_t>(ArgMax(logits))}, {1.0}};
  const WeightedTokens tokens =
      FilterTokens(logits, params.temperature, params.top_k, params.top_p);
  std::vector<int32_t> order(tokens.ids.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return logits[tokens.ids[a]] > logits[tokens.ids[b]];
  });
  KeptTokens kept;
  for (const int32_t i : order) {
    kept.ids.push_back(tokens.ids[i]);
    kept.probs.push_back(tokens.weights[i] / tokens.total);
  }
  return kept;
}

SampledToken SampleToken(absl::Span<const float> logits, absl::Span<const int32_t> context,
                         int64_t num_prompt_tokens, absl::Span<const int32_t> forbidden,
                         const SamplingParams& params, std::vector<float>& scratch) {
  TESSERA_CHECK(num_prompt_tokens <= static_cast<int64_t>(context.size()));
  absl::Span<const float> changed = logits;
  if (ChangesLogits(forbidden, params)) {
    scratch.assign(logits.begin(), logits.end());
    if (params.repetition_penalty != 1) {
      // From the unchanged value each time: an id that occurs twice is penalised once.
      for (const int32_t id : context) {
        scratch[id] = Penalised(logits[id], params.repetition_penalty);
      }
    }
    if (params.presence_penalty != 0 || params.frequency_penalty != 0) {
      ApplyAnswerPenalties(absl::MakeSpan(scratch), context.subspan(num_prompt_tokens), params);
    }
    for (const int32_t id : forbidden) scratch[id] = -std::numeric_limits<float>::infinity();
    changed = scratch;
  }
  SampledToken token;
  token.id = Draw(changed, static_cast<int64_t>(context.size()) - num_prompt_tokens, params);
  if (params.num_logprobs >= 0) token.logprobs = LogprobsOf(logits, token.id, params.num_logprobs);
  return token;
}

}  // namespace tessera::engine
