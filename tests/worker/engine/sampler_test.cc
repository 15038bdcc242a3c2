#include "worker/engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <numeric>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "worker/engine/logit_filter.h"
#include "worker/engine/philox.h"

namespace tessera::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int kVocab = 129'280;

std::vector<float> RandomLogits(int count, uint32_t seed, float deviation = 4) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> logits(count);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

int32_t Sample(const std::vector<float>& logits, const SamplingParams& params,
               const std::vector<int32_t>& context = {1}, int64_t num_prompt = 1,
               const std::vector<int32_t>& forbidden = {}) {
  std::vector<float> scratch;
  return SampleToken(logits, context, num_prompt, forbidden, params, scratch).id;
}

TEST(KeepTokens, AgreesWithTheReference) {
  std::ifstream file(TESSERA_FIXTURES "/golden/sampling/cases.json");
  ASSERT_TRUE(file.good());
  const nlohmann::json cases = nlohmann::json::parse(file);
  ASSERT_EQ(cases.size(), 24u);
  for (size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE(i);
    auto logits = cases[i]["logits"].get<std::vector<float>>();
    const auto previous = cases[i]["previous_ids"].get<std::vector<int32_t>>();
    SamplingParams params;
    params.repetition_penalty = cases[i]["repetition_penalty"];
    params.temperature = cases[i]["temperature"];
    params.top_k = cases[i]["top_k"];
    params.top_p = cases[i]["top_p"];
    const KeptTokens kept = KeepTokens(absl::MakeSpan(logits), previous, params);
    EXPECT_TRUE(std::is_sorted(kept.probs.rbegin(), kept.probs.rend()));
    std::map<int32_t, double> by_id;
    for (size_t k = 0; k < kept.ids.size(); ++k) by_id[kept.ids[k]] = kept.probs[k];
    const auto ids = cases[i]["kept_ids"].get<std::vector<int32_t>>();
    const auto probs = cases[i]["kept_probs"].get<std::vector<double>>();
    ASSERT_EQ(by_id.size(), ids.size());
    for (size_t k = 0; k < ids.size(); ++k) {
      ASSERT_EQ(by_id.count(ids[k]), 1u) << ids[k];
      // The reference computes in float32 and prints seven digits.
      EXPECT_NEAR(by_id[ids[k]], probs[k], 2e-6 * probs[k] + 1e-9);
    }
  }
}

// Sort everything, then cut: the definition, without the shortcuts.
std::vector<int32_t> NaiveKept(const std::vector<float>& logits, const SamplingParams& params) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  size_t count = order.size();
  if (params.top_k > 0 && params.top_k < static_cast<int64_t>(count)) {
    count = params.top_k;
    while (count < order.size() && logits[order[count]] == logits[order[params.top_k - 1]]) ++count;
  }
  std::vector<long double> weights;
  for (size_t i = 0; i < count; ++i) {
    weights.push_back(std::exp((static_cast<long double>(logits[order[i]]) - logits[order[0]]) /
                               params.temperature));
  }
  const long double total = std::accumulate(weights.begin(), weights.end(), 0.0L);
  if (params.top_p < 1) {
    long double before = 0;
    size_t kept = 0;
    while (kept < count && (kept == 0 || before < params.top_p * total)) before += weights[kept++];
    count = kept;
  }
  order.resize(count);
  return order;
}

TEST(KeepTokens, AgreesWithSortingEverything) {
  std::mt19937 random(5);
  for (int round = 0; round < 60; ++round) {
    SCOPED_TRACE(round);
    const int count = 1 + static_cast<int>(random() % 3000);
    std::vector<float> logits = RandomLogits(count, round, 1 + static_cast<float>(round % 5));
    if (round % 3 == 0) {
      for (float& logit : logits) logit = std::round(logit);  // many ties
    }
    SamplingParams params;
    params.temperature = std::vector<double>{0.1, 0.7, 1.0, 20.0}[random() % 4];
    params.top_k = std::vector<int64_t>{0, 1, 5, 50, 2000}[random() % 5];
    params.top_p = std::vector<double>{1.0, 0.9, 0.5, 0.999, 0.01}[random() % 5];
    const std::vector<int32_t> expected = NaiveKept(logits, params);
    const KeptTokens kept = KeepTokens(absl::MakeSpan(logits), {}, params);
    ASSERT_EQ(kept.ids, expected);
    ASSERT_NEAR(std::accumulate(kept.probs.begin(), kept.probs.end(), 0.0), 1, 1e-12);
  }
}

TEST(KeepTokens, AnUnusualTemperatureIsHarmless) {
  std::vector<float> logits = {1, 3, 3, -2};
  SamplingParams params;
  params.temperature = 5e-324;
  EXPECT_THAT(KeepTokens(absl::MakeSpan(logits), {}, params).probs, ElementsAre(0.5, 0.5, 0, 0));
  params.temperature = 0;
  EXPECT_THAT(KeepTokens(absl::MakeSpan(logits), {}, params).ids, ElementsAre(1));
}

TEST(ExpOfNegative, IsCloseToTheLibrary) {
  for (double x = 0; x > -700; x -= 0.0137) {
    ASSERT_NEAR(ExpOfNegative(x) / std::exp(x), 1, 2e-15) << x;
  }
  EXPECT_EQ(ExpOfNegative(0), 1);
  EXPECT_EQ(ExpOfNegative(-1e9), 0);
  EXPECT_EQ(ExpOfNegative(-std::numeric_limits<double>::infinity()), 0);
}

TEST(SampleToken, GreedyTiesGoToTheLowestId) {
  std::vector<float> logits(1000, -1.0f);
  logits[970] = logits[313] = logits[600] = 2.5f;
  EXPECT_EQ(Sample(logits, {}), 313);
  EXPECT_EQ(Sample(std::vector<float>(77, 0.0f), {}), 0);
  EXPECT_EQ(Sample({-0.0f, 0.0f}, {}), 0);
  EXPECT_EQ(Sample({7.0f}, {}), 0);
}

TEST(SampleToken, ForbiddenIdsAreNeverDrawn) {
  const std::vector<float> logits = {1, 9, 8, 2};
  EXPECT_EQ(Sample(logits, {}, {0}, 1, {1}), 2);
  EXPECT_EQ(Sample(logits, {}, {0}, 1, {1, 2}), 3);
  SamplingParams params;
  params.temperature = 50;
  for (params.seed = 0; params.seed < 200; ++params.seed) {
    EXPECT_NE(Sample(logits, params, {0}, 1, {1}), 1);
  }
}

TEST(SampleToken, RepetitionPenaltyCountsPromptAndAnswerOnce) {
  SamplingParams params;
  params.repetition_penalty = 1.5;
  // 4 / 1.5 = 2.67 < 3, and once only: 4 / 1.5 > 2.5
  EXPECT_EQ(Sample({4, 3, 0}, params, {0, 0, 0}, 3), 1);
  EXPECT_EQ(Sample({4, 2.5, 0}, params, {0, 0, 0}, 1), 0);
  EXPECT_EQ(Sample({-1, -1.2, -9}, params, {0, 2}, 1), 1);  // negative logits are multiplied
}

TEST(SampleToken, PresenceAndFrequencyCountTheAnswerAlone) {
  SamplingParams params;
  params.presence_penalty = 1.5;
  EXPECT_EQ(Sample({4, 3, 0}, params, {0, 0}, 2), 0);
  EXPECT_EQ(Sample({4, 3, 0}, params, {0, 0}, 1), 1);
  params.presence_penalty = 0;
  params.frequency_penalty = 0.6;
  EXPECT_EQ(Sample({4, 3, 0}, params, {2, 0}, 1), 0);
  EXPECT_EQ(Sample({4, 3, 0}, params, {2, 0, 0}, 1), 1);
}

TEST(SampleToken, DrawsDependOnSeedChoiceAndPositionAlone) {
  const std::vector<float> logits = RandomLogits(500, 3, 1);
  SamplingParams params;
  params.temperature = 1;
  params.seed = 77;
  const int32_t first = Sample(logits, params, {1, 2, 3}, 2);
  EXPECT_EQ(first, Sample(logits, params, {9, 8, 7, 6, 5}, 4));
  int differing = 0;
  for (int64_t generated = 0; generated < 20; ++generated) {
    const std::vector<int32_t> context(1 + generated, 0);
    SamplingParams other = params;
    other.choice = 1;
    differing += Sample(logits, params, context, 1) != Sample(logits, other, context, 1);
  }
  EXPECT_GT(differing, 10);
}

TEST(SampleToken, FrequenciesFollowTheProbabilities) {
  const std::vector<float> logits = {0, 1, 2, 3, -1};
  SamplingParams params;
  params.temperature = 0.8;
  params.top_k = 4;
  std::vector<float> copy = logits;
  const KeptTokens kept = KeepTokens(absl::MakeSpan(copy), {}, params);
  constexpr int kDraws = 20'000;
  std::map<int32_t, int> counts;
  for (params.seed = 0; params.seed < kDraws; ++params.seed) ++counts[Sample(logits, params)];
  ASSERT_EQ(counts.size(), kept.ids.size());
  for (size_t i = 0; i < kept.ids.size(); ++i) {
    const double expected = kept.probs[i] * kDraws;
    EXPECT_NEAR(counts[kept.ids[i]], expected, 5 * std::sqrt(expected)) << kept.ids[i];
  }
}

TEST(SampleToken, LogprobsAreOfTheUnmodifiedLogits) {
  const std::vector<float> logits = {1, 3, 3, -2, 0.5};
  double total = 0;
  for (const float logit : logits) total += std::exp(logit);
  SamplingParams params;
  params.num_logprobs = 3;
  params.repetition_penalty = 10;
  std::vector<float> scratch;
  const SampledToken token =
      SampleToken(logits, std::vector<int32_t>{1, 2}, 2, {}, params, scratch);
  EXPECT_EQ(token.id, 0);
  ASSERT_TRUE(token.logprobs.present);
  EXPECT_NEAR(token.logprobs.logprob, 1 - std::log(total), 1e-6);
  ASSERT_EQ(token.logprobs.top.size(), 3u);
  EXPECT_EQ(token.logprobs.top[0].first, 1);
  EXPECT_EQ(token.logprobs.top[1].first, 2);
  EXPECT_EQ(token.logprobs.top[2].first, 0);
  EXPECT_NEAR(token.logprobs.top[1].second, 3 - std::log(total), 1e-6);
  params.num_logprobs = 0;
  EXPECT_TRUE(
      SampleToken(logits, std::vector<int32_t>{1}, 1, {}, params, scratch).logprobs.top.empty());
  params.num_logprobs = 20;  // more than there are
  EXPECT_EQ(
      SampleToken(logits, std::vector<int32_t>{1}, 1, {}, params, scratch).logprobs.top.size(), 5u);
}

TEST(KthLargest, AgreesWithSorting) {
  for (const int count : {1, 2, 1023, 1024, 1025, 5000}) {
    std::vector<float> values = RandomLogits(count, count);
    for (size_t i = 0; i < values.size(); i += 2) values[i] = std::round(values[i]);
    std::vector<float> sorted = values;
    std::sort(sorted.rbegin(), sorted.rend());
    for (const int k : {1, 2, 50, 1024, count}) {
      if (k > count) continue;
      EXPECT_EQ(KthLargest(values, k), sorted[k - 1]) << count << " " << k;
    }
  }
}

TEST(ValidateSamplingParams, NamesTheField) {
  EXPECT_TRUE(ValidateSamplingParams({}).ok());
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto expect_refused = [](auto set, const char* field) {
    SamplingParams params;
    set(params);
    const absl::Status status = ValidateSamplingParams(params);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field;
    EXPECT_THAT(std::string(status.message()), HasSubstr(field));
  };
  expect_refused([](auto& p) { p.max_tokens = 0; }, "max_tokens");
  expect_refused([](auto& p) { p.min_tokens = -1; }, "min_tokens");
  expect_refused([](auto& p) { p.min_tokens = 513; }, "min_tokens");
  expect_refused([](auto& p) { p.temperature = -0.1; }, "temperature");
  expect_refused([](auto& p) { p.temperature = 100.5; }, "temperature");
  expect_refused([&](auto& p) { p.temperature = nan; }, "temperature");
  expect_refused([](auto& p) { p.top_p = 0; }, "top_p");
  expect_refused([](auto& p) { p.top_p = 1.01; }, "top_p");
  expect_refused([&](auto& p) { p.top_p = nan; }, "top_p");
  expect_refused([](auto& p) { p.top_k = -1; }, "top_k");
  expect_refused([](auto& p) { p.repetition_penalty = 0; }, "repetition_penalty");
  expect_refused([&](auto& p) { p.repetition_penalty = nan; }, "repetition_penalty");
  expect_refused([](auto& p) { p.presence_penalty = 2.1; }, "presence_penalty");
  expect_refused([&](auto& p) { p.presence_penalty = nan; }, "presence_penalty");
  expect_refused([](auto& p) { p.frequency_penalty = -2.1; }, "frequency_penalty");
  expect_refused([](auto& p) { p.num_logprobs = 21; }, "num_logprobs");
  expect_refused([](auto& p) { p.num_logprobs = -2; }, "num_logprobs");
}

}  // namespace
}  // namespace tessera::engine
