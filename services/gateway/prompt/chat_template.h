// The official processor's own interface, with its prompt mode, training mode and display string:
// what the golden cases and `tessera check` compare with. The gateway's rules are in prompt.h.
#ifndef TESSERA_SERVICES_GATEWAY_PROMPT_CHAT_TEMPLATE_H_
#define TESSERA_SERVICES_GATEWAY_PROMPT_CHAT_TEMPLATE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/gateway/prompt/image.h"
#include "services/gateway/prompt/tiler.h"
#include "services/gateway/prompt/tokenizer.h"

namespace tessera::prompt {

inline constexpr int32_t kIgnoreId = -100;  // label of positions that count for no loss

struct ReferenceMessage {
  std::string role;     // <|User|>, user, <|Assistant|>, assistant, or system (first message only)
  std::string content;  // may hold `<image>` placeholders in user messages
};

struct ReferenceRequest {
  std::vector<ReferenceMessage> conversation;
  std::optional<std::string> prompt;  // prompt mode: used instead of the conversation
  bool apply_sft_format = false;      // prompt mode: wrap the prompt as one user turn
  std::string system_prompt;          // changes the display string only
  std::vector<const Image*> images;  // in the order of the placeholders; surplus ones count for the
                                     // cropping rule only; not owned
  bool inference_mode = true;        // drops the final end-of-sentence token
  bool mask_prompt = false;          // labels of user and system text become kIgnoreId
};

struct ReferencePrompt {
  std::string sft_format;  // display string
  std::vector<int32_t> input_ids;
  std::vector<int32_t> target_ids;    // same length
  std::vector<bool> images_seq_mask;  // same length; true at image positions
  std::vector<TileGrid> grids;  // per used image; the reference shows [[0, 0]] where this is empty
  std::vector<int64_t> num_image_tokens;  // per used image
  std::vector<TiledImage> tiles;          // per used image
};

// INVALID_ARGUMENT wherever the reference raises: unknown role, late system message, `<image>` in
// an assistant message, fewer images than placeholders, and, in inference mode, a conversation that
// does not end with an assistant message.
absl::StatusOr<ReferencePrompt> PrepareReference(const Tokenizer& tokenizer,
                                                 const TileGeometry& geometry,
                                                 const ReferenceRequest& request);

// The display string alone, of a conversation or of a prompt with apply_sft_format.
std::string SftFormat(const Tokenizer& tokenizer, const std::vector<ReferenceMessage>& conversation,
                      const std::string& system_prompt);

}  // namespace tessera::prompt

#endif  // TESSERA_SERVICES_GATEWAY_PROMPT_CHAT_TEMPLATE_H_
