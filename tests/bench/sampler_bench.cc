// One token from 129,280 logits, VL2-Tiny's vocabulary:  sampler/<how>
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "worker/engine/sampler.h"

namespace tessera::engine {
namespace {

constexpr int64_t kVocabulary = 129280;

std::vector<float> RandomLogits() {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 4);
  std::vector<float> logits(kVocabulary);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

void Sample(benchmark::State& state, const SamplingParams& params) {
  const std::vector<float> logits = RandomLogits();
  const std::vector<int32_t> context = {1, 2, 3};
  std::vector<float> scratch;
  for (auto _ : state) {
    benchmark::DoNotOptimize(SampleToken(logits, context, 1, {}, params, scratch));
  }
}

SamplingParams Params(double temperature, double top_p, int64_t top_k) {
  SamplingParams params;
  params.temperature = temperature;
  params.top_p = top_p;
  params.top_k = top_k;
  return params;
}

BENCHMARK_CAPTURE(Sample, sampler / greedy, Params(0, 1, 0))->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(Sample, sampler / temperature, Params(1, 1, 0))->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(Sample, sampler / top_p, Params(0.4, 0.9, 0))->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(Sample, sampler / top_k_top_p, Params(0.4, 0.9, 50))
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace tessera::engine
