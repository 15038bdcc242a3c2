#include "services/cli/check/greedy_check.h"

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/cli/check/compare.h"

namespace tessera::check {
namespace {

constexpr double kLogitTolerance = 2e-3;
// Below this gap between the two best scores the tolerance of logits does not decide which is
// chosen.
constexpr double kMinMargin = 2 * kLogitTolerance;
// Chunks of odd length, beside those that the golden names: they end inside images and inside
// blocks.
constexpr int64_t kOddChunks[] = {37, 331};

int32_t Greedy(absl::Span<const float> logits, const std::vector<int32_t>&) {
  return ArgMax(logits);
}

// The golden's list, cut to what a runner has room for.
std::vector<int32_t> Tokens(const nlohmann::json& list) {
  std::vector<int32_t> tokens = Ids(list);
  tokens.resize(std::min<size_t>(tokens.size(), kMaxGreedyTokens));
  return tokens;
}

// Largest error of the logits that the golden tells of a step.
double StepError(const nlohmann::json& step, absl::Span<const float> logits) {
  std::vector<float> ours;
  std::vector<double> theirs;
  for (const int32_t id : Ids(Member(step, "ids"))) {
    if (id >= 0 && id < static_cast<int32_t>(logits.size())) ours.push_back(logits[id]);
  }
  for (const auto& value : Member(step, "logits")) {
    if (value.is_number()) theirs.push_back(value.get<double>());
  }
  return MaxAbsoluteError(ours, theirs);
}

// Up to and with the first eos.
std::vector<int32_t> UntilEos(const std::vector<int32_t>& tokens, int32_t eos) {
  const auto end = std::find(tokens.begin(), tokens.end(), eos);
  return {tokens.begin(), end == tokens.end() ? end : end + 1};
}

absl::Status CheckOnePass(const GoldenCase& golden, const model::ModelConfig& config,
                          ModelRunner& runner, Report* report) {
  const std::vector<int32_t> expected = Tokens(Member(golden.json, "greedy_tokens_no_stop"));
  const nlohmann::json& steps = Member(golden.json, "step_top8");
  double worst = 0;
  TESSERA_ASSIGN_OR_RETURN(const std::vector<int32_t> tokens,
                           runner.Generate(static_cast<int64_t>(expected.size()),
                                           [&](absl::Span<const float> logits, const auto& before) {
                                             if (steps.is_array() && before.size() < steps.size()) {
                                               worst = std::max(
                                                   worst, StepError(steps[before.size()], logits));
                                             }
                                             return ArgMax(logits);
                                           }));
  report->AddMismatches("greedy tokens", CountMismatches(tokens, expected), golden.name);
  if (steps.is_array())
    report->Add("logits", Measure::kAbsoluteError, kLogitTolerance, worst,
                golden.name + " decoding");
  if (golden.json.contains("generated_until_eos")) {
    report->AddMismatches("greedy tokens",
                          CountMismatches(UntilEos(tokens, config.language.eos_token_id),
                                          Tokens(Member(golden.json, "generated_until_eos"))),
                          golden.name + " until eos");
  }
  return absl::OkStatus();
}

// As the reference does it: all but the last position in chunks, then the last position as the
// first decoding step.
absl::Status CheckIncremental(const GoldenCase& golden, const Prompt& prompt, int64_t chunk,
                              absl::Span<const int32_t> expected, ModelRunner& runner,
                              Report* report) {
  Prompt body = prompt;
  body.ids.pop_back();
  if (!body.ids.empty()) TESSERA_RETURN_IF_ERROR(runner.Prefill(body, chunk));
  if (body.ids.empty()) {
    TESSERA_RETURN_IF_ERROR(runner.Prefill(prompt, 1));
  } else {
    TESSERA_RETURN_IF_ERROR(runner.Decode(prompt.ids.back()));
  }
  TESSERA_ASSIGN_OR_RETURN(const std::vector<int32_t> tokens,
                           runner.Generate(static_cast<int64_t>(expected.size()), Greedy));
  report->AddMismatches("incremental prefill", CountMismatches(tokens, expected),
                        absl::StrCat(golden.name, " chunk ", chunk));
  return absl::OkStatus();
}

absl::Status CheckIncrementals(const GoldenCase& golden, const Prompt& prompt, ModelRunner& runner,
                               Report* report) {
  const nlohmann::json& by_chunk = Member(golden.json, "incremental_prefilling");
  if (by_chunk.is_object()) {
    for (const auto& [chunk, tokens] : by_chunk.items()) {
      const int64_t size = std::atoll(chunk.c_str());
      if (size < 1) continue;
      TESSERA_RETURN_IF_ERROR(
          CheckIncremental(golden, prompt, size, Tokens(tokens), runner, report));
    }
  }
  const std::vector<int32_t> expected = Tokens(Member(golden.json, "greedy_tokens_no_stop"));
  for (const int64_t chunk : kOddChunks) {
    if (chunk < static_cast<int64_t>(prompt.ids.size())) {
      TESSERA_RETURN_IF_ERROR(CheckIncremental(golden, prompt, chunk, expected, runner, report));
    }
  }
  return absl::OkStatus();
}

// The reference's penalty: positive logits are divided, negative ones multiplied, for every id of
// prompt and answer.
absl::Status CheckPenalty(const GoldenCase& golden, const Prompt& prompt, ModelRunner& runner,
                          Report* report) {
  constexpr float kPenalty = 1.1f;
  const nlohmann::json& entry = Member(golden.json, "greedy_repetition_penalty_1.1");
  const nlohmann::json& margin = Member(entry, "min_margin");
  if (!entry.is_object() || !margin.is_number() || margin.get<double>() < kMinMargin)
    return absl::OkStatus();
  const std::vector<int32_t> expected = Tokens(Member(entry, "tokens"));
  TESSERA_RETURN_IF_ERROR(runner.Prefill(prompt, static_cast<int64_t>(prompt.ids.size())));
  TESSERA_ASSIGN_OR_RETURN(
      const std::vector<int32_t> tokens,
      runner.Generate(static_cast<int64_t>(expected.size()), [&](absl::Span<const float> logits,
                                                                 const auto& before) {
        std::vector<float> scores(logits.begin(), logits.end());
        std::vector<int32_t> seen = prompt.ids;
        seen.insert(seen.end(), before.begin(), before.end());
        for (const int32_t id : seen)
          scores[id] = logits[id] > 0 ? logits[id] / kPenalty : logits[id] * kPenalty;
        return ArgMax(scores);
      }));
  report->AddMismatches("penalised tokens", CountMismatches(tokens, expected), golden.name);
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckGreedy(const GoldenCase& golden, const Prompt& prompt,
                         const model::ModelConfig& config, ModelRunner& runner, Report* report) {
  TESSERA_RETURN_IF_ERROR(CheckOnePass(golden, config, runner, report));
  TESSERA_RETURN_IF_ERROR(CheckIncrementals(golden, prompt, runner, report));
  return CheckPenalty(golden, prompt, runner, report);
}

absl::Status CheckFirstToken(const GoldenCase& golden, ModelRunner& runner, Report* report) {
  const nlohmann::json& divergence =
      Member(Member(golden.json, "bf16_reference"), "first_divergence");
  const std::vector<int32_t> expected = Ids(Member(golden.json, "greedy_tokens_no_stop"));
  if (!divergence.is_number_integer() || divergence.get<int64_t>() < 1 || expected.empty())
    return absl::OkStatus();
  report->AddMismatches("first token", ArgMax(runner.logits()) == expected.front() ? 0 : 1,
                        golden.name);
  return absl::OkStatus();
}

}  // namespace tessera::check
