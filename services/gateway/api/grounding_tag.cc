#include "services/gateway/api/grounding_tag.h"

#include <string>
#include <string_view>

namespace tessera::gateway {
namespace {

constexpr std::string_view kGroundingTag = "<|grounding|>";
constexpr std::string_view kImagePlaceholder = "<image>";

}  // namespace

void InsertGroundingTag(prompt::Message* message) {
  using Kind = prompt::ContentPart::Kind;
  bool placeholders = false;
  for (const prompt::ContentPart& part : message->content) {
    if (part.text.find(kGroundingTag) != std::string::npos) return;
    placeholders = placeholders || part.text.find(kImagePlaceholder) != std::string::npos;
  }
  // The place: a part and a byte in it. Image parts count only if no placeholder says where the
  // pictures stand.
  size_t index = 0;
  size_t offset = 0;
  for (size_t i = 0; i < message->content.size(); ++i) {
    const prompt::ContentPart& part = message->content[i];
    if (part.kind == Kind::kImage) {
      if (placeholders) continue;
      index = i + 1;
      offset = 0;
    } else if (const size_t at = part.text.rfind(kImagePlaceholder); at != std::string::npos) {
      index = i;
      offset = at + kImagePlaceholder.size();
    }
  }
  while (index < message->content.size() && message->content[index].kind == Kind::kImage) ++index;
  if (index == message->content.size()) {
    message->content.push_back({Kind::kText, std::string(kGroundingTag), 0});
    return;
  }
  std::string& text = message->content[index].text;
  const bool after_picture = index > 0 || offset > 0;
  if (after_picture && text.compare(offset, 1, "\n") == 0) ++offset;
  text.insert(offset, kGroundingTag);
}

}  // namespace tessera::gateway
