#include "services/gateway/api/sampling.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/rpc/status_details.h"

namespace tessera::gateway {
namespace {

constexpr int64_t kDefaultMaxTokens = 512;
constexpr int kMaxStops = 16;
constexpr size_t kMaxStopBytes = 256;

// interval: the bound as text; ok is false for NaN as well.
absl::Status Bound(bool ok, absl::string_view field, double value, absl::string_view interval) {
  if (ok) return absl::OkStatus();
  const std::string number = std::isnan(value) ? "NaN" : absl::StrCat(value);
  return rpc::BadFieldError(absl::StrCat("sampling.", field),
                            absl::StrCat(number, " is not in ", interval));
}

absl::Status BoundInt(absl::string_view field, int64_t value, int64_t min, int64_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return rpc::BadFieldError(absl::StrCat("sampling.", field),
                            absl::StrCat(value, " is not in [", min, ", ", max, "]"));
}

absl::Status AtLeast(absl::string_view field, int64_t value, int64_t min) {
  if (value >= min) return absl::OkStatus();
  return rpc::BadFieldError(absl::StrCat("sampling.", field),
                            absl::StrCat(value, " is below ", min));
}

absl::Status CheckStops(const v1::SamplingParameters& sampling) {
  if (sampling.stop_size() > kMaxStops) {
    return rpc::BadFieldError(
        "sampling.stop", absl::StrCat(sampling.stop_size(), " strings, the limit is ", kMaxStops));
  }
  for (int i = 0; i < sampling.stop_size(); ++i) {
    const size_t size = sampling.stop(i).size();
    if (size >= 1 && size <= kMaxStopBytes) continue;
    return rpc::BadFieldError(absl::StrCat("sampling.stop[", i, "]"),
                              absl::StrCat(size, " bytes is not in [1, ", kMaxStopBytes, "]"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckSampling(const v1::SamplingParameters& s) {
  if (s.has_max_tokens()) TESSERA_RETURN_IF_ERROR(AtLeast("max_tokens", s.max_tokens(), 1));
  if (s.has_min_tokens()) TESSERA_RETURN_IF_ERROR(AtLeast("min_tokens", s.min_tokens(), 0));
  if (s.has_top_k()) TESSERA_RETURN_IF_ERROR(AtLeast("top_k", s.top_k(), 0));
  if (s.has_temperature()) {
    TESSERA_RETURN_IF_ERROR(Bound(s.temperature() >= 0 && s.temperature() <= 100, "temperature",
                                  s.temperature(), "[0, 100]"));
  }
  if (s.has_top_p())
    TESSERA_RETURN_IF_ERROR(Bound(s.top_p() > 0 && s.top_p() <= 1, "top_p", s.top_p(), "(0, 1]"));
  if (s.has_repetition_penalty()) {
    const double value = s.repetition_penalty();
    TESSERA_RETURN_IF_ERROR(
        Bound(value > 0 && value <= 10, "repetition_penalty", value, "(0, 10]"));
  }
  if (s.has_presence_penalty()) {
    const double value = s.presence_penalty();
    TESSERA_RETURN_IF_ERROR(Bound(value >= -2 && value <= 2, "presence_penalty", value, "[-2, 2]"));
  }
  if (s.has_frequency_penalty()) {
    const double value = s.frequency_penalty();
    TESSERA_RETURN_IF_ERROR(
        Bound(value >= -2 && value <= 2, "frequency_penalty", value, "[-2, 2]"));
  }
  if (s.has_logprobs()) TESSERA_RETURN_IF_ERROR(BoundInt("logprobs", s.logprobs(), 0, 20));
  if (s.has_n()) TESSERA_RETURN_IF_ERROR(BoundInt("n", s.n(), 1, 8));
  return CheckStops(s);
}

absl::StatusOr<v1::DecodeSampling> ResolveSampling(const v1::SamplingParameters& s,
                                                   int64_t prompt_tokens, int64_t context_tokens,
                                                   int32_t end_token_id, uint64_t drawn_seed) {
  const int64_t rest = context_tokens - prompt_tokens;
  const int64_t max_tokens =
      s.has_max_tokens() ? s.max_tokens() : std::min(kDefaultMaxTokens, rest);
  if (max_tokens > rest) {
    return rpc::BadFieldError(
        "sampling.max_tokens",
        absl::StrCat(max_tokens, " is more than the ", rest, " tokens that the prompt of ",
                     prompt_tokens, " leaves of the context of ", context_tokens));
  }
  if (s.min_tokens() > max_tokens) {
    return rpc::BadFieldError("sampling.min_tokens",
                              absl::StrCat(s.min_tokens(), " is above max_tokens, ", max_tokens));
  }
  v1::DecodeSampling decode;
  decode.set_max_tokens(static_cast<int32_t>(max_tokens));
  decode.set_min_tokens(s.min_tokens());
  decode.set_temperature(s.temperature());
  decode.set_top_p(s.has_top_p() ? s.top_p() : 1);
  decode.set_top_k(s.top_k());
  decode.set_repetition_penalty(s.has_repetition_penalty() ? s.repetition_penalty() : 1);
  decode.set_presence_penalty(s.presence_penalty());
  decode.set_frequency_penalty(s.frequency_penalty());
  decode.set_seed(s.has_seed() ? s.seed() : drawn_seed);
  decode.set_num_logprobs(s.has_logprobs() ? s.logprobs() : -1);
  decode.set_ignore_eos(s.ignore_eos());
  decode.add_stop_token_ids(end_token_id);
  return decode;
}

}  // namespace tessera::gateway
