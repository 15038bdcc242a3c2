#include "services/gateway/prompt/chat_template.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/gateway/prompt/prompt_parts.h"
#include "services/gateway/prompt/utf8.h"

namespace tessera::prompt {
namespace {

constexpr std::string_view kUserRole = "<|User|>";
constexpr std::string_view kAssistantRole = "<|Assistant|>";
constexpr size_t kMaxCroppedImages = 2;  // with more, each image is one tile

// Parts, and for each whether its labels are kept when prompts are masked.
struct Draft {
  std::vector<PromptPart> parts;
  std::vector<bool> is_answer;  // same length

  void MarkNew(bool answer) { is_answer.resize(parts.size(), answer); }
};

void AppendTextWithImages(std::string_view text, std::vector<PromptPart>* parts) {
  for (const ContentSegment& segment : SplitAtPlaceholders(text)) {
    if (!segment.is_image) {
      AppendText(segment.text, AddedTokens::kAll, parts);
      continue;
    }
    PromptPart image;
    image.kind = PromptPart::Kind::kImage;
    parts->push_back(std::move(image));
  }
}

absl::StatusOr<Draft> DraftConversation(const SpecialTokens& special,
                                        const std::vector<ReferenceMessage>& conversation) {
  Draft draft;
  AppendToken(special.bos, &draft.parts);
  draft.MarkNew(true);
  for (size_t index = 0; index < conversation.size(); ++index) {
    const ReferenceMessage& message = conversation[index];
    if (message.role == kUserRole || message.role == "user") {
      std::vector<ContentSegment> content = SplitAtPlaceholders(Strip(message.content));
      AppendUserTurn(special, content, AddedTokens::kAll, &draft.parts);
      draft.MarkNew(false);
    } else if (message.role == kAssistantRole || message.role == "assistant") {
      if (message.content.find(kImagePlaceholder) != std::string::npos) {
        return absl::InvalidArgumentError(
            absl::StrCat("messages[", index, "]: an assistant message holds <image>"));
      }
      AppendAssistantTurn(special, Strip(message.content), AddedTokens::kAll, &draft.parts);
      draft.MarkNew(true);
    } else if (message.role == "system") {
      if (index != 0) {
        return absl::InvalidArgumentError(
            absl::StrCat("messages[", index, "]: a system message must be the first"));
      }
      AppendText(Strip(message.content), AddedTokens::kAll, &draft.parts);
      draft.MarkNew(false);
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("messages[", index, "].role: '", message.role, "' is unknown"));
    }
  }
  return draft;
}

Draft DraftPrompt(const SpecialTokens& special, std::string_view text) {
  Draft draft;
  AppendToken(special.bos, &draft.parts);
  AppendTextWithImages(text, &draft.parts);
  AppendToken(special.eos, &draft.parts);
  draft.MarkNew(true);
  return draft;
}

// Encodes part by part, so that labels and mask follow.
absl::Status EncodeDraft(const Tokenizer& tokenizer, const Draft& draft, bool mask_prompt,
                         ReferencePrompt* prompt) {
  size_t image = 0;
  for (size_t i = 0; i < draft.parts.size(); ++i) {
    const bool is_image = draft.parts[i].kind == PromptPart::Kind::kImage;
    std::vector<int64_t> counts;
    if (is_image) counts.push_back(prompt->num_image_tokens[image++]);
    TESSERA_ASSIGN_OR_RETURN(const EncodedParts encoded,
                             EncodeParts(tokenizer, {draft.parts[i]}, counts));
    for (const int32_t id : encoded.ids) {
      const bool ignored = id == tokenizer.special().image || (mask_prompt && !draft.is_answer[i]);
      prompt->input_ids.push_back(id);
      prompt->target_ids.push_back(ignored ? kIgnoreId : id);
      prompt->images_seq_mask.push_back(is_image);
    }
  }
  return absl::OkStatus();
}

absl::Status PlaceImages(const TileGeometry& geometry, const ReferenceRequest& request,
                         const Draft& draft, ReferencePrompt* prompt) {
  const auto placeholders = static_cast<size_t>(
      std::count_if(draft.parts.begin(), draft.parts.end(),
                    [](const PromptPart& part) { return part.kind == PromptPart::Kind::kImage; }));
  const bool exact = request.prompt.has_value();  // a conversation may have surplus images
  if (placeholders > request.images.size() || (exact && placeholders != request.images.size())) {
    return absl::InvalidArgumentError(
        absl::StrCat(placeholders, " <image> placeholders but ", request.images.size(), " images"));
  }
  const bool cropping = request.images.size() <= kMaxCroppedImages;
  for (size_t i = 0; i < placeholders; ++i) {
    TESSERA_ASSIGN_OR_RETURN(TiledImage tiles, TileImage(geometry, *request.images[i], cropping));
    prompt->grids.push_back(tiles.grid);
    prompt->num_image_tokens.push_back(NumImageTokens(geometry, tiles.grid));
    prompt->tiles.push_back(std::move(tiles));
  }
  return absl::OkStatus();
}

}  // namespace

std::string SftFormat(const Tokenizer& tokenizer, const std::vector<ReferenceMessage>& conversation,
                      const std::string& system_prompt) {
  const std::string_view eos = tokenizer.TokenBytes(tokenizer.special().eos);
  std::string text = system_prompt.empty() ? "" : system_prompt + "\n\n";
  for (size_t index = 0; index < conversation.size(); ++index) {
    const std::string_view content = Strip(conversation[index].content);
    text.append(conversation[index].role).append(":");
    if (content.empty()) continue;
    text.append(" ").append(content).append(index % 2 == 0 ? "\n\n" : eos);
  }
  return std::string(Strip(text));
}

absl::StatusOr<ReferencePrompt> PrepareReference(const Tokenizer& tokenizer,
                                                 const TileGeometry& geometry,
                                                 const ReferenceRequest& request) {
  const SpecialTokens& special = tokenizer.special();
  ReferencePrompt prompt;
  Draft draft;
  if (request.prompt.has_value()) {
    prompt.sft_format = *request.prompt;
    if (request.apply_sft_format) {
      prompt.sft_format = SftFormat(
          tokenizer, {{std::string(kUserRole), *request.prompt}, {std::string(kAssistantRole), ""}},
          request.system_prompt);
    }
    draft = DraftPrompt(special, prompt.sft_format);
  } else {
    TESSERA_ASSIGN_OR_RETURN(draft, DraftConversation(special, request.conversation));
    prompt.sft_format = SftFormat(tokenizer, request.conversation, request.system_prompt);
  }
  TESSERA_RETURN_IF_ERROR(PlaceImages(geometry, request, draft, &prompt));
  TESSERA_RETURN_IF_ERROR(EncodeDraft(tokenizer, draft, request.mask_prompt, &prompt));
  if (request.inference_mode) {
    if (prompt.input_ids.back() != special.eos) {
      return absl::InvalidArgumentError(
          "messages: a conversation for inference must end with an assistant message");
    }
    prompt.input_ids.pop_back();
    prompt.target_ids.pop_back();
    prompt.images_seq_mask.pop_back();
  }
  return prompt;
}

}  // namespace tessera::prompt
