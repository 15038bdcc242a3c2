#include "services/gateway/dispatch/worker_requests.h"

namespace tessera::gateway {
namespace {

v1::DecodeRequest RequestWithoutSource(const SequenceRequest& sequence, uint64_t epoch) {
  v1::DecodeRequest request;
  request.set_request_id(sequence.id);
  request.set_model_revision(sequence.model_revision);
  request.set_epoch(epoch);
  *request.mutable_sampling() = *sequence.sampling;
  request.set_priority(sequence.priority);
  return request;
}

void AppendGenerated(absl::Span<const int32_t> generated, v1::PreparedPrompt& prompt) {
  prompt.set_num_prompt_tokens(prompt.token_ids_size());
  prompt.mutable_token_ids()->Add(generated.begin(), generated.end());
}

}  // namespace

v1::DecodeRequest ComputeRequest(const SequenceRequest& sequence,
                                 absl::Span<const int32_t> generated, uint64_t epoch) {
  v1::DecodeRequest request = RequestWithoutSource(sequence, epoch);
  *request.mutable_prompt() = *sequence.prompt;
  AppendGenerated(generated, *request.mutable_prompt());
  return request;
}

v1::DecodeRequest ContinueRequest(const SequenceRequest& sequence,
                                  absl::Span<const int32_t> generated, uint64_t epoch,
                                  const std::string& handoff_id) {
  v1::DecodeRequest request = RequestWithoutSource(sequence, epoch);
  v1::HandedOverPrompt& handed_over = *request.mutable_handed_over();
  handed_over.set_handoff_id(handoff_id);
  v1::PreparedPrompt& prompt = *handed_over.mutable_prompt();
  *prompt.mutable_token_ids() = sequence.prompt->token_ids();
  AppendGenerated(generated, prompt);
  prompt.set_cache_salt(sequence.prompt->cache_salt());
  for (const v1::PromptImage& image : sequence.prompt->images()) {
    v1::PromptImage& part = *prompt.add_images();
    part.set_tiles_across(image.tiles_across());
    part.set_tiles_down(image.tiles_down());
    part.set_first_token(image.first_token());
    part.set_num_tokens(image.num_tokens());
    part.set_identity(image.identity());
  }
  return request;
}

}  // namespace tessera::gateway
