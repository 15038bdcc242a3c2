// From a public conversation to the worker's prompt: limits by header, decoding, tiling, template
// and tokens. Slow: runs on the preprocessing pool.
#ifndef TESSERA_SERVICES_GATEWAY_API_REQUEST_PREPARER_H_
#define TESSERA_SERVICES_GATEWAY_API_REQUEST_PREPARER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "services/gateway/answer/answer.h"
#include "services/gateway/api/conversation_reader.h"
#include "services/gateway/prompt/prompt.h"

namespace tessera::gateway {

struct PreparerLimits {
  int64_t max_images = 16;
  int64_t max_request_pixels = 160'000'000;  // of all pictures of one call
  prompt::ImageLimits image;
};

struct PreparedConversation {
  prompt::PreparedPrompt prompt;
  std::vector<answer::ImageSize> image_sizes;  // of the original pictures, in the request's order
  int64_t num_tiles = 0;
};

// Thread safe.
class RequestPreparer {
 public:
  // processor outlives the preparer.
  RequestPreparer(const prompt::PromptProcessor& processor, PreparerLimits limits)
      : processor_(processor), limits_(limits) {}

  // stopped: asked between pictures; true gives CANCELLED. context_tokens: at least one of them is
  // left for the answer. INVALID_ARGUMENT with a BadRequest: the field, what is wrong, and the
  // bound.
  absl::StatusOr<PreparedConversation> Prepare(const ConversationRequest& request,
                                               int64_t context_tokens,
                                               const std::function<bool()>& stopped) const;

  const prompt::PromptProcessor& processor() const { return processor_; }
  const PreparerLimits& limits() const { return limits_; }

 private:
  // By the headers alone: sizes within the limits, and pictures whose placeholders fit the context.
  absl::Status CheckHeaders(const ConversationInput& input, int64_t context_tokens) const;

  const prompt::PromptProcessor& processor_;
  const PreparerLimits limits_;
};

}  // namespace tessera::gateway

#endif  // TESSERA_SERVICES_GATEWAY_API_REQUEST_PREPARER_H_
