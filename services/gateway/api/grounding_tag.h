// The typed form of `<|grounding|>`.
#ifndef TESSERA_SERVICES_GATEWAY_API_GROUNDING_TAG_H_
#define TESSERA_SERVICES_GATEWAY_API_GROUNDING_TAG_H_

#include "services/gateway/prompt/prompt.h"

namespace tessera::gateway {

// Puts `<|grounding|>` before the message's text: behind its last picture (part or `<image>`
// placeholder) and one line break after it, as official prompts have it. A message whose text
// already holds the tag stays as it is.
void InsertGroundingTag(prompt::Message* message);

}  // namespace tessera::gateway

#endif  // TESSERA_SERVICES_GATEWAY_API_GROUNDING_TAG_H_
