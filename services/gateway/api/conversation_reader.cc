#include "services/gateway/api/conversation_reader.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "services/base/status_macros.h"
#include "services/gateway/api/grounding_tag.h"
#include "services/rpc/status_details.h"

namespace tessera::gateway {
namespace {

using prompt::ContentPart;

absl::StatusOr<prompt::Role> ReadRole(v1::Role role, const std::string& field) {
  switch (role) {
    case v1::ROLE_SYSTEM:
      return prompt::Role::kSystem;
    case v1::ROLE_USER:
      return prompt::Role::kUser;
    case v1::ROLE_ASSISTANT:
      return prompt::Role::kAssistant;
    case v1::ROLE_UNSPECIFIED:
      return rpc::BadFieldError(field, "is not set");
    default:
      return rpc::BadFieldError(field, absl::StrCat(static_cast<int>(role), " is not a role"));
  }
}

absl::Status CheckPhrase(const std::string& phrase, const std::string& field) {
  if (phrase.empty()) return rpc::BadFieldError(field, "is empty");
  for (const char* tag :
       {"<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>", "<|grounding|>", "<image>"}) {
    if (phrase.find(tag) != std::string::npos) {
      return rpc::BadFieldError(field,
                                absl::StrCat("holds the tag ", tag, "; give the phrase alone"));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadPart(const v1::ContentPart& part, const std::string& field,
                      prompt::Message* message, ConversationInput* input) {
  const bool user = message->role == prompt::Role::kUser;
  switch (part.part_case()) {
    case v1::ContentPart::kText:
      message->content.push_back({ContentPart::Kind::kText, part.text(), 0});
      return absl::OkStatus();
    case v1::ContentPart::kImage:
      if (!user)
        return rpc::BadFieldError(field + ".image", "pictures stand in user messages only");
      message->content.push_back({ContentPart::Kind::kImage, "", input->images.size()});
      input->images.emplace_back(part.image().data());
      input->image_fields.push_back(field + ".image");
      return absl::OkStatus();
    case v1::ContentPart::kReferredPhrase:
      if (!user)
        return rpc::BadFieldError(field + ".referred_phrase",
                                  "phrases stand in user messages only");
      TESSERA_RETURN_IF_ERROR(CheckPhrase(part.referred_phrase(), field + ".referred_phrase"));
      message->content.push_back({ContentPart::Kind::kText,
                                  absl::StrCat("<|ref|>", part.referred_phrase(), "<|/ref|>"), 0});
      return absl::OkStatus();
    case v1::ContentPart::PART_NOT_SET:
      break;
  }
  return rpc::BadFieldError(field, "has neither text, image nor referred_phrase");
}

absl::Status ReadMessage(const v1::Message& message, int index, bool last,
                         ConversationInput* input) {
  const std::string field = absl::StrCat("messages[", index, "]");
  prompt::Message result;
  TESSERA_ASSIGN_OR_RETURN(result.role, ReadRole(message.role(), field + ".role"));
  result.allow_special_tokens = message.allow_special_tokens();
  if (message.content_size() == 0 && !(last && result.role == prompt::Role::kAssistant)) {
    return rpc::BadFieldError(field + ".content", "has no parts");
  }
  for (int i = 0; i < message.content_size(); ++i) {
    TESSERA_RETURN_IF_ERROR(
        ReadPart(message.content(i), absl::StrCat(field, ".content[", i, "]"), &result, input));
  }
  input->messages.push_back(std::move(result));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ConversationInput> ReadConversationRequest(const ConversationRequest& request,
                                                          int64_t max_images) {
  if (request.messages.empty()) return rpc::BadFieldError("messages", "there are none");
  ConversationInput input;
  if (!request.system_prompt.empty()) {
    if (request.messages[0].role() == v1::ROLE_SYSTEM) {
      return rpc::BadFieldError(
          "system_prompt",
          "is given together with a first message of ROLE_SYSTEM; give one of them");
    }
    prompt::Message system;
    system.role = prompt::Role::kSystem;
    system.content.push_back({ContentPart::Kind::kText, request.system_prompt, 0});
    input.messages.push_back(std::move(system));
    input.system_prompt_added = true;
  }
  for (int i = 0; i < request.messages.size(); ++i) {
    TESSERA_RETURN_IF_ERROR(
        ReadMessage(request.messages[i], i, i + 1 == request.messages.size(), &input));
  }
  if (static_cast<int64_t>(input.images.size()) > max_images) {
    return rpc::BadFieldError(
        "messages", absl::StrCat(input.images.size(), " pictures, the limit is ", max_images));
  }
  if (request.grounding.grounded_answer()) {
    for (auto message = input.messages.rbegin(); message != input.messages.rend(); ++message) {
      if (message->role != prompt::Role::kUser) continue;
      InsertGroundingTag(&*message);
      break;
    }
  }
  return input;
}

absl::Status WithFieldPath(const absl::Status& status, const ConversationInput& input) {
  if (!absl::IsInvalidArgument(status)) return status;
  absl::string_view text = status.message();
  const bool image = absl::ConsumePrefix(&text, "images[");
  size_t index = 0;
  if ((!image && !absl::ConsumePrefix(&text, "messages[")) ||
      (text.find("]: ")) == absl::string_view::npos ||
      !absl::SimpleAtoi(text.substr(0, text.find("]: ")), &index)) {
    return rpc::BadFieldError("messages", absl::StripPrefix(status.message(), "messages: "));
  }
  const absl::string_view what = text.substr(text.find("]: ") + 3);
  if (image) {
    return rpc::BadFieldError(
        index < input.image_fields.size() ? input.image_fields[index] : "messages", what);
  }
  if (input.system_prompt_added && index == 0) return rpc::BadFieldError("system_prompt", what);
  return rpc::BadFieldError(
      absl::StrCat("messages[", index - (input.system_prompt_added ? 1 : 0), "]"), what);
}

}  // namespace tessera::gateway
