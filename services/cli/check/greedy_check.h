// The generated tokens of a golden case: in one pass, by incremental prefill, and with the
// repetition penalty.
#ifndef TESSERA_SERVICES_CLI_CHECK_GREEDY_CHECK_H_
#define TESSERA_SERVICES_CLI_CHECK_GREEDY_CHECK_H_

#include "absl/status/status.h"
#include "services/cli/check/golden_case.h"
#include "services/cli/check/model_runner.h"
#include "services/cli/check/report.h"
#include "worker/model/model_config.h"

namespace tessera::check {

// Longest continuation that a golden may ask for.
inline constexpr int64_t kMaxGreedyTokens = 256;

// runner holds the prompt, prefilled in one pass with the last row's logits; it is used further.
absl::Status CheckGreedy(const GoldenCase& golden, const Prompt& prompt,
                         const model::ModelConfig& config, ModelRunner& runner, Report* report);

// The first token only, where the reference's own bfloat16 run kept it.
absl::Status CheckFirstToken(const GoldenCase& golden, ModelRunner& runner, Report* report);

}  // namespace tessera::check

#endif  // TESSERA_SERVICES_CLI_CHECK_GREEDY_CHECK_H_
