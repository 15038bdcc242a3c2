#include "services/cli/client/conversation.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "services/base/status_macros.h"
#include "services/cli/client/request.h"

namespace tessera::cli {

absl::Status Conversation::AddPicture(const std::string& path) {
  TESSERA_ASSIGN_OR_RETURN(std::string bytes, ReadFile(path));
  waiting_.push_back({path, std::move(bytes)});
  return absl::OkStatus();
}

void Conversation::AddQuestion(const std::string& question) {
  std::vector<std::string> pictures;
  for (const Picture& picture : waiting_) {
    pictures.push_back(picture.bytes);
    sent_names_.push_back(picture.name);
  }
  messages_.push_back(UserMessage(pictures, question));
  last_sent_ = std::exchange(waiting_, {});
}

void Conversation::TakeQuestionBack() {
  messages_.pop_back();
  sent_names_.resize(sent_names_.size() - last_sent_.size());
  waiting_.insert(waiting_.begin(), last_sent_.begin(), last_sent_.end());
  last_sent_.clear();
}

void Conversation::AddAnswer(const Answer& answer) {
  v1::Message message;
  message.set_role(v1::ROLE_ASSISTANT);
  message.add_content()->set_text(answer.text);
  messages_.push_back(std::move(message));
  last_boxes_ = answer.boxes;
}

void Conversation::Reset() {
  messages_.clear();
  sent_names_.clear();
  waiting_.clear();
  last_sent_.clear();
  last_boxes_.clear();
}

std::vector<std::string> Conversation::picture_names() const {
  std::vector<std::string> names = sent_names_;
  for (const Picture& picture : waiting_) {
    names.push_back(picture.name);
  }
  return names;
}

absl::Status Conversation::Save(const std::string& path) const {
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  size_t picture = 0;
  for (const v1::Message& message : messages_) {
    nlohmann::ordered_json content = nlohmann::ordered_json::array();
    for (const v1::ContentPart& part : message.content()) {
      if (part.has_image()) {
        content.push_back({{"image", sent_names_[picture++]}});
      } else {
        content.push_back({{"text", part.text()}});
      }
    }
    messages.push_back(
        {{"role", message.role() == v1::ROLE_USER ? "user" : "assistant"}, {"content", content}});
  }
  const nlohmann::ordered_json object = {{"system", system}, {"messages", messages}};
  errno = 0;
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
  file.close();
  if (!file) {
    return absl::PermissionDeniedError(
        absl::StrCat("cannot write ", path, ": ", std::strerror(errno)));
  }
  return absl::OkStatus();
}

}  // namespace tessera::cli
