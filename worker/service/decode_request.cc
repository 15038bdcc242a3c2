#include "worker/service/decode_request.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/rpc/status_details.h"
#include "tessera/v1/worker.pb.h"

namespace tessera::worker {
namespace {

constexpr size_t kMaxIdBytes = 256;

absl::StatusOr<engine::PromptImage> ToPromptImage(const v1::PromptImage& image,
                                                  const std::string& field) {
  engine::PromptImage result;
  if (image.identity().size() != result.identity.size()) {
    return rpc::BadFieldError(
        absl::StrCat(field, ".identity"),
        absl::StrCat("has ", image.identity().size(), " bytes, must have 32"));
  }
  std::copy(image.identity().begin(), image.identity().end(), result.identity.begin());
  result.tiles.assign(image.tiles().begin(), image.tiles().end());
  result.tiles_across = image.tiles_across();
  result.tiles_down = image.tiles_down();
  result.first_token = image.first_token();
  result.num_tokens = image.num_tokens();
  return result;
}

engine::SamplingParams ToSamplingParams(const v1::DecodeSampling& sampling) {
  engine::SamplingParams params;
  params.max_tokens = sampling.max_tokens();
  params.min_tokens = sampling.min_tokens();
  params.temperature = sampling.temperature();
  params.top_p = sampling.top_p();
  params.top_k = sampling.top_k();
  params.repetition_penalty = sampling.repetition_penalty();
  params.presence_penalty = sampling.presence_penalty();
  params.frequency_penalty = sampling.frequency_penalty();
  params.seed = sampling.seed();
  params.choice = sampling.choice();
  params.num_logprobs = sampling.num_logprobs();
  params.ignore_eos = sampling.ignore_eos();
  return params;
}

}  // namespace

absl::Status CheckId(const std::string& id, const std::string& field) {
  if (!id.empty() && id.size() <= kMaxIdBytes) return absl::OkStatus();
  return rpc::BadFieldError(
      field, absl::StrCat("has ", id.size(), " bytes, must have 1 to ", kMaxIdBytes));
}

absl::StatusOr<engine::GenerationRequest> ToPrompt(const v1::PreparedPrompt& prompt,
                                                   const std::string& field) {
  engine::GenerationRequest result;
  result.token_ids.assign(prompt.token_ids().begin(), prompt.token_ids().end());
  result.num_prompt_tokens = prompt.num_prompt_tokens();
  for (int i = 0; i < prompt.images_size(); ++i) {
    TESSERA_ASSIGN_OR_RETURN(
        engine::PromptImage image,
        ToPromptImage(prompt.images(i), absl::StrCat(field, ".images[", i, "]")));
    result.images.push_back(std::move(image));
  }
  result.cache_salt = prompt.cache_salt();
  return result;
}

absl::StatusOr<engine::GenerationRequest> ToGenerationRequest(const v1::DecodeRequest& request,
                                                              absl::Time deadline) {
  TESSERA_RETURN_IF_ERROR(CheckId(request.request_id(), "request_id"));
  const bool handed_over = request.has_handed_over();
  if (!request.has_prompt() && !handed_over) return rpc::BadFieldError("prompt", "is not set");
  if (!request.has_sampling()) return rpc::BadFieldError("sampling", "is not set");
  if (handed_over) {
    TESSERA_RETURN_IF_ERROR(CheckId(request.handed_over().handoff_id(), "handed_over.handoff_id"));
  }
  TESSERA_ASSIGN_OR_RETURN(engine::GenerationRequest result,
                           handed_over
                               ? ToPrompt(request.handed_over().prompt(), "handed_over.prompt")
                               : ToPrompt(request.prompt(), "prompt"));
  if (handed_over) result.kv_lease = request.handed_over().handoff_id();
  result.id = RequestId(request.request_id());
  result.sampling = ToSamplingParams(request.sampling());
  result.stop_token_ids.assign(request.sampling().stop_token_ids().begin(),
                               request.sampling().stop_token_ids().end());
  result.priority = request.priority();
  result.deadline = deadline;
  return result;
}

}  // namespace tessera::worker
