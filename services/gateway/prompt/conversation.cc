#include "services/gateway/prompt/conversation.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/gateway/prompt/utf8.h"

namespace tessera::prompt {
namespace {

constexpr size_t kMaxCroppedImages = 2;

absl::Status Wrong(size_t message, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("messages[", message, "]: ", what));
}

const char* RoleName(Role role) {
  switch (role) {
    case Role::kSystem:
      return "system";
    case Role::kUser:
      return "user";
    case Role::kAssistant:
      return "assistant";
  }
  return "unknown";
}

// An optional system message, then user and assistant in turn, the user first.
absl::Status CheckRoles(const std::vector<Message>& messages) {
  if (messages.empty()) return absl::InvalidArgumentError("messages: there are none");
  Role expected = Role::kUser;
  for (size_t index = 0; index < messages.size(); ++index) {
    const Role role = messages[index].role;
    if (role == Role::kSystem) {
      if (index == 0) continue;
      return Wrong(index, "a system message must be the first message");
    }
    if (role != expected) {
      return Wrong(index,
                   absl::StrCat("the role is ", RoleName(role), " where ", RoleName(expected),
                                " is expected: user and assistant "
                                "messages take turns and a user message comes first"));
    }
    expected = role == Role::kUser ? Role::kAssistant : Role::kUser;
  }
  if (messages.back().role == Role::kSystem) {
    return absl::InvalidArgumentError("messages: there is no user message");
  }
  return absl::OkStatus();
}

// Content with neighbouring texts joined, so that a placeholder cut into two parts is still seen.
struct JoinedContent {
  std::vector<ContentSegment> segments;
  std::vector<size_t> images;  // in order
  size_t placeholders = 0;     // `<image>` in the texts
};

absl::StatusOr<JoinedContent> JoinContent(size_t index, const Message& message,
                                          const Conversation& conversation) {
  JoinedContent joined;
  for (const ContentPart& part : message.content) {
    if (part.kind == ContentPart::Kind::kImage) {
      if (part.image_index >= conversation.images.size() ||
          conversation.images[part.image_index] == nullptr) {
        return Wrong(index, absl::StrCat("image index ", part.image_index, " but there are ",
                                         conversation.images.size(), " images"));
      }
      joined.images.push_back(part.image_index);
      joined.segments.push_back({true, ""});
      continue;
    }
    if (part.text.empty()) continue;
    if (!joined.segments.empty() && !joined.segments.back().is_image) {
      joined.segments.back().text.append(part.text);
    } else {
      joined.segments.push_back({false, part.text});
    }
  }
  size_t offset = 0;  // of the segment in the message's whole text
  for (const ContentSegment& segment : joined.segments) {
    if (const size_t at = FindInvalidUtf8(segment.text); at != std::string::npos) {
      return Wrong(index, absl::StrCat("invalid UTF-8 at byte offset ", offset + at));
    }
    offset += segment.text.size();
    for (size_t at = segment.text.find(kImagePlaceholder); at != std::string::npos;
         at = segment.text.find(kImagePlaceholder, at + kImagePlaceholder.size())) {
      ++joined.placeholders;
    }
  }
  return joined;
}

absl::Status AppendUserMessage(size_t index, JoinedContent content, const SpecialTokens& special,
                               AddedTokens added, ConversationParts* result) {
  if (content.placeholders > 0) {
    if (content.placeholders != content.images.size()) {
      return Wrong(index, absl::StrCat(content.placeholders, " <image> placeholders but ",
                                       content.images.size(), " images"));
    }
    std::string text;
    for (const ContentSegment& segment : content.segments) text.append(segment.text);
    content.segments = SplitAtPlaceholders(text);
    const auto cuts = static_cast<size_t>(
        std::count_if(content.segments.begin(), content.segments.end(),
                      [](const ContentSegment& segment) { return segment.is_image; }));
    if (cuts != content.images.size()) {
      return Wrong(index, absl::StrCat(cuts, " <image> placeholders but ", content.images.size(),
                                       " images once the texts around the images are joined"));
    }
  }
  StripContent(&content.segments);
  AppendUserTurn(special, content.segments, added, &result->parts);
  result->images.insert(result->images.end(), content.images.begin(), content.images.end());
  return absl::OkStatus();
}

absl::Status AppendMessage(size_t index, const Conversation& conversation,
                           const SpecialTokens& special, ConversationParts* result) {
  const Message& message = conversation.messages[index];
  TESSERA_ASSIGN_OR_RETURN(JoinedContent content, JoinContent(index, message, conversation));
  const AddedTokens added =
      message.allow_special_tokens ? AddedTokens::kAll : AddedTokens::kNoControl;
  if (message.role == Role::kUser) {
    return AppendUserMessage(index, std::move(content), special, added, result);
  }
  if (!content.images.empty() || content.placeholders > 0) {
    return Wrong(index, absl::StrCat("images and <image> stand in user messages only, not in a ",
                                     RoleName(message.role), " message"));
  }
  StripContent(&content.segments);
  const std::string text = content.segments.empty() ? "" : content.segments.front().text;
  AppendText(text, added, &result->parts);
  const bool prefix = index + 1 == conversation.messages.size();  // the answer goes on from here
  if (message.role == Role::kAssistant && !prefix) AppendToken(special.eos, &result->parts);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ConversationParts> ReadConversation(const SpecialTokens& special,
                                                   const Conversation& conversation) {
  TESSERA_RETURN_IF_ERROR(CheckRoles(conversation.messages));
  ConversationParts result;
  AppendToken(special.bos, &result.parts);
  for (size_t index = 0; index < conversation.messages.size(); ++index) {
    TESSERA_RETURN_IF_ERROR(AppendMessage(index, conversation, special, &result));
  }
  size_t count = result.images.size();
  for (size_t image = 0; image < conversation.images.size(); ++image) {
    if (std::find(result.images.begin(), result.images.end(), image) == result.images.end()) {
      ++count;
    }
  }
  result.cropping = count <= kMaxCroppedImages;
  return result;
}

}  // namespace tessera::prompt
