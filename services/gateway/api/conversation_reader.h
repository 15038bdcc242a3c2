// Public messages to a conversation of the prompt module. Decodes nothing.
#ifndef TESSERA_SERVICES_GATEWAY_API_CONVERSATION_READER_H_
#define TESSERA_SERVICES_GATEWAY_API_CONVERSATION_READER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/gateway/prompt/prompt.h"
#include "tessera/v1/inference.pb.h"

namespace tessera::gateway {

// What Generate and CountTokens have in common. Points into the request.
struct ConversationRequest {
  const google::protobuf::RepeatedPtrField<v1::Message>& messages;
  const std::string& system_prompt;
  const v1::GroundingOptions& grounding;
};

struct ConversationInput {
  std::vector<prompt::Message> messages;  // the system prompt is the first one, if there is any
  std::vector<absl::string_view> images;  // the files' bytes, in the request
  std::vector<std::string> image_fields;  // their paths, e.g. "messages[0].content[1].image"
  bool system_prompt_added = false;       // messages[0] is the field system_prompt
};

// INVALID_ARGUMENT names the field: no messages, role or part not set, no content, picture or
// phrase of a wrong role, a phrase that holds tags, too many pictures, two system prompts.
absl::StatusOr<ConversationInput> ReadConversationRequest(const ConversationRequest& request,
                                                          int64_t max_images);

// An error of PromptProcessor::Prepare ("messages[1]: …", "images[0]: …") with the public field's
// path as a detail.
absl::Status WithFieldPath(const absl::Status& status, const ConversationInput& input);

}  // namespace tessera::gateway

#endif  // TESSERA_SERVICES_GATEWAY_API_CONVERSATION_READER_H_
