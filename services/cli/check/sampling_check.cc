#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/cli/check/compare.h"
#include "services/cli/check/data_checks.h"
#include "services/cli/check/golden_files.h"
#include "worker/engine/sampler.h"

namespace tessera::check {
namespace {

using nlohmann::json;

// The goldens are float32 softmax outputs written with seven digits.
constexpr double kProbabilityTolerance = 1e-5;

std::vector<double> Numbers(const json& array) {
  std::vector<double> numbers;
  if (!array.is_array()) return numbers;
  for (const json& number : array)
    numbers.push_back(number.is_number() ? number.get<double>() : NAN);
  return numbers;
}

double Number(const json& object, const std::string& key, double otherwise) {
  const json& value = Member(object, key);
  return value.is_number() ? value.get<double>() : otherwise;
}

void CheckCase(const json& golden, const std::string& name, Report* report) {
  const std::vector<double> wide = Numbers(Member(golden, "logits"));
  std::vector<float> logits(wide.begin(), wide.end());
  engine::SamplingParams params;
  params.temperature = Number(golden, "temperature", 1);
  params.top_p = Number(golden, "top_p", 1);
  params.top_k = static_cast<int64_t>(Number(golden, "top_k", 0));
  params.repetition_penalty = Number(golden, "repetition_penalty", 1);
  const std::vector<int32_t> previous = Ids(Member(golden, "previous_ids"));
  const engine::KeptTokens kept = engine::KeepTokens(absl::MakeSpan(logits), previous, params);
  // Ours are sorted by probability, the golden's by id.
  std::vector<size_t> order(kept.ids.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return kept.ids[a] < kept.ids[b]; });
  std::vector<int32_t> ids;
  std::vector<float> probs;
  for (const size_t i : order) {
    ids.push_back(kept.ids[i]);
    probs.push_back(static_cast<float>(kept.probs[i]));
  }
  report->AddMismatches("kept ids", CountMismatches(ids, Ids(Member(golden, "kept_ids"))), name);
  report->Add("kept probabilities", Measure::kAbsoluteError, kProbabilityTolerance,
              MaxAbsoluteError(probs, Numbers(Member(golden, "kept_probs"))), name);
}

}  // namespace

absl::Status CheckSampling(const std::string& dir, Report* report) {
  report->SetSubject("sampling");
  TESSERA_ASSIGN_OR_RETURN(const json cases, ReadJson(dir + "/cases.json"));
  if (!cases.is_array())
    return absl::InvalidArgumentError("golden file cases.json of sampling is not a list");
  for (size_t i = 0; i < cases.size(); ++i) CheckCase(cases[i], absl::StrCat("case ", i), report);
  return absl::OkStatus();
}

}  // namespace tessera::check
