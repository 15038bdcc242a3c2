// The gateway's rules for a conversation: order of roles, where images stand, what text may hold
// (see prompt.h).
#ifndef TESSERA_SERVICES_GATEWAY_PROMPT_CONVERSATION_H_
#define TESSERA_SERVICES_GATEWAY_PROMPT_CONVERSATION_H_

#include <cstddef>
#include <vector>

#include "absl/status/statusor.h"
#include "services/gateway/prompt/prompt.h"
#include "services/gateway/prompt/prompt_parts.h"

namespace tessera::prompt {

struct ConversationParts {
  std::vector<PromptPart> parts;
  std::vector<size_t> images;  // per image part: index into Conversation::images
  bool cropping =
      true;  // at most two images, counting each use and each image that no message uses
};

// INVALID_ARGUMENT: as PromptProcessor::Prepare says.
absl::StatusOr<ConversationParts> ReadConversation(const SpecialTokens& special,
                                                   const Conversation& conversation);

}  // namespace tessera::prompt

#endif  // TESSERA_SERVICES_GATEWAY_PROMPT_CONVERSATION_H_
