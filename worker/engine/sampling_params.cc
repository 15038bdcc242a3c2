#include <cmath>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/base/status_macros.h"
#include "worker/engine/sampler.h"

namespace tessera::engine {
namespace {

absl::Status OutOfRange(absl::string_view field, absl::string_view value, absl::string_view bound) {
  return absl::InvalidArgumentError(
      absl::StrCat("sampling.", field, " is ", value, ", must be ", bound));
}

// !(a <= b) instead of a > b: refuses NaN too.
absl::Status CheckNumber(absl::string_view field, double value, double low, bool low_included,
                         double high) {
  const bool above = low_included ? value >= low : value > low;
  if (above && value <= high) return absl::OkStatus();
  return OutOfRange(field, absl::StrCat(value),
                    absl::StrCat("in ", low_included ? "[" : "(", low, ", ", high, "]"));
}

}  // namespace

absl::Status ValidateSamplingParams(const SamplingParams& params) {
  if (params.max_tokens < 1) {
    return OutOfRange("max_tokens", absl::StrCat(params.max_tokens), "at least 1");
  }
  if (params.min_tokens < 0 || params.min_tokens > params.max_tokens) {
    return OutOfRange("min_tokens", absl::StrCat(params.min_tokens),
                      absl::StrCat("in [0, max_tokens = ", params.max_tokens, "]"));
  }
  if (params.top_k < 0) return OutOfRange("top_k", absl::StrCat(params.top_k), "at least 0");
  TESSERA_RETURN_IF_ERROR(CheckNumber("temperature", params.temperature, 0, true, 100));
  TESSERA_RETURN_IF_ERROR(CheckNumber("top_p", params.top_p, 0, false, 1));
  TESSERA_RETURN_IF_ERROR(
      CheckNumber("repetition_penalty", params.repetition_penalty, 0, false, 10));
  TESSERA_RETURN_IF_ERROR(CheckNumber("presence_penalty", params.presence_penalty, -2, true, 2));
  TESSERA_RETURN_IF_ERROR(CheckNumber("frequency_penalty", params.frequency_penalty, -2, true, 2));
  if (params.num_logprobs < -1 || params.num_logprobs > 20) {
    return OutOfRange("num_logprobs", absl::StrCat(params.num_logprobs), "in [-1, 20]");
  }
  return absl::OkStatus();
}

}  // namespace tessera::engine
