#include "services/gateway/prompt/prompt_parts.h"

#include <utility>

#include "services/base/check.h"
#include "services/base/status_macros.h"
#include "services/gateway/prompt/utf8.h"

namespace tessera::prompt {

std::vector<ContentSegment> SplitAtPlaceholders(std::string_view text) {
  std::vector<ContentSegment> segments;
  while (true) {
    const size_t at = text.find(kImagePlaceholder);
    const std::string_view before = text.substr(0, at);
    if (!before.empty()) segments.push_back({false, std::string(before)});
    if (at == std::string_view::npos) return segments;
    segments.push_back({true, ""});
    text.remove_prefix(at + kImagePlaceholder.size());
  }
}

void StripContent(std::vector<ContentSegment>* content) {
  while (!content->empty() && !content->front().is_image) {
    content->front().text = std::string(StripLeft(content->front().text));
    if (!content->front().text.empty()) break;
    content->erase(content->begin());
  }
  while (!content->empty() && !content->back().is_image) {
    content->back().text = std::string(StripRight(content->back().text));
    if (!content->back().text.empty()) break;
    content->pop_back();
  }
}

void AppendText(std::string_view text, AddedTokens added, std::vector<PromptPart>* parts) {
  if (text.empty()) return;
  PromptPart part;
  part.text = std::string(text);
  part.added = added;
  parts->push_back(std::move(part));
}

void AppendToken(int32_t token, std::vector<PromptPart>* parts) {
  PromptPart part;
  part.kind = PromptPart::Kind::kToken;
  part.token = token;
  parts->push_back(std::move(part));
}

void AppendUserTurn(const SpecialTokens& special, const std::vector<ContentSegment>& content,
                    AddedTokens added, std::vector<PromptPart>* parts) {
  AppendToken(special.user, parts);
  std::string text = content.empty() ? ":" : ": ";
  for (const ContentSegment& segment : content) {
    if (!segment.is_image) {
      text.append(segment.text);
      continue;
    }
    AppendText(text, added, parts);
    text.clear();
    PromptPart image;
    image.kind = PromptPart::Kind::kImage;
    parts->push_back(std::move(image));
  }
  if (!content.empty()) text.append("\n\n");
  AppendText(text, added, parts);
  AppendToken(special.assistant, parts);
  AppendText(":", added, parts);
}

void AppendAssistantTurn(const SpecialTokens& special, std::string_view text, AddedTokens added,
                         std::vector<PromptPart>* parts) {
  AppendText(text, added, parts);
  AppendToken(special.eos, parts);
}

absl::StatusOr<EncodedParts> EncodeParts(const Tokenizer& tokenizer,
                                         const std::vector<PromptPart>& parts,
                                         const std::vector<int64_t>& image_tokens) {
  EncodedParts encoded;
  for (const PromptPart& part : parts) {
    switch (part.kind) {
      case PromptPart::Kind::kToken:
        encoded.ids.push_back(part.token);
        break;
      case PromptPart::Kind::kText: {
        TESSERA_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                                 tokenizer.Encode(part.text, part.added));
        encoded.ids.insert(encoded.ids.end(), ids.begin(), ids.end());
        break;
      }
      case PromptPart::Kind::kImage: {
        const size_t image = encoded.image_starts.size();
        TESSERA_CHECK(image < image_tokens.size()) << "image part " << image << " has no count";
        encoded.image_starts.push_back(static_cast<int64_t>(encoded.ids.size()));
        encoded.ids.insert(encoded.ids.end(), static_cast<size_t>(image_tokens[image]),
                           tokenizer.special().image);
        break;
      }
    }
  }
  return encoded;
}

}  // namespace tessera::prompt
