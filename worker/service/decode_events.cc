#include "worker/service/decode_events.h"

namespace tessera::worker {

void AppendToken(v1::DecodedTokens& tokens, const engine::TokenEvent& event) {
  tokens.add_token_ids(event.token_id);
  if (!event.logprobs.present) return;
  v1::DecodedLogprobs& logprobs = *tokens.add_logprobs();
  logprobs.set_logprob(event.logprobs.logprob);
  for (const auto& [id, logprob] : event.logprobs.top) {
    logprobs.add_top_ids(id);
    logprobs.add_top_logprobs(logprob);
  }
}

void SetFinished(v1::DecodeFinished& finished, engine::FinishReason reason,
                 const engine::Usage& usage) {
  finished.set_reason(reason == engine::FinishReason::kStopToken ? v1::FINISH_REASON_STOP
                                                                 : v1::FINISH_REASON_LENGTH);
  v1::Usage& counts = *finished.mutable_usage();
  counts.set_prompt_tokens(static_cast<int32_t>(usage.prompt_tokens));
  counts.set_image_tokens(static_cast<int32_t>(usage.image_tokens));
  counts.set_cached_tokens(static_cast<int32_t>(usage.cached_tokens));
  counts.set_completion_tokens(static_cast<int32_t>(usage.completion_tokens));
}

}  // namespace tessera::worker
