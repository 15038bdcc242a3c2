// A prompt before it is encoded: tokens, stretches of text and images in order. The chat template's
// fixed parts live here.
#ifndef TESSERA_SERVICES_GATEWAY_PROMPT_PROMPT_PARTS_H_
#define TESSERA_SERVICES_GATEWAY_PROMPT_PROMPT_PARTS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "services/gateway/prompt/tokenizer.h"

namespace tessera::prompt {

inline constexpr std::string_view kImagePlaceholder = "<image>";

struct PromptPart {
  enum class Kind { kToken, kText, kImage };
  Kind kind = Kind::kText;
  int32_t token = -1;  // kToken
  std::string text;    // kText: encoded on its own, so no token crosses its borders
  AddedTokens added = AddedTokens::kAll;  // kText
};

// A stretch of a message's content: text, or one image.
struct ContentSegment {
  bool is_image = false;
  std::string text;  // empty for an image
};

// Cuts text at each `<image>`. Empty stretches are left out.
std::vector<ContentSegment> SplitAtPlaceholders(std::string_view text);

// What Python's strip() does to the content as a text with placeholders; segments that become empty
// vanish.
void StripContent(std::vector<ContentSegment>* content);

// `<|User|>: ` + content + blank line + `<|Assistant|>:`, or `<|User|>:<|Assistant|>:` if there is
// no content (golden README, point 8). content: stripped.
void AppendUserTurn(const SpecialTokens& special, const std::vector<ContentSegment>& content,
                    AddedTokens added, std::vector<PromptPart>* parts);

// The answer, then the end-of-sentence token. text: stripped.
void AppendAssistantTurn(const SpecialTokens& special, std::string_view text, AddedTokens added,
                         std::vector<PromptPart>* parts);

void AppendText(std::string_view text, AddedTokens added, std::vector<PromptPart>* parts);
void AppendToken(int32_t token, std::vector<PromptPart>* parts);

struct EncodedParts {
  std::vector<int32_t> ids;
  std::vector<int64_t> image_starts;  // per image: index into ids of its first `<image>` id
};

// image_tokens: one count per image part, in order. INVALID_ARGUMENT: a text is not valid UTF-8 or
// too intricate.
absl::StatusOr<EncodedParts> EncodeParts(const Tokenizer& tokenizer,
                                         const std::vector<PromptPart>& parts,
                                         const std::vector<int64_t>& image_tokens);

}  // namespace tessera::prompt

#endif  // TESSERA_SERVICES_GATEWAY_PROMPT_PROMPT_PARTS_H_
