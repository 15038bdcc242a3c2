// The turns of a chat, with the pictures' names for people.
#ifndef TESSERA_SERVICES_CLI_CLIENT_CONVERSATION_H_
#define TESSERA_SERVICES_CLI_CLIENT_CONVERSATION_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "services/cli/client/inference_client.h"
#include "tessera/v1/inference.pb.h"

namespace tessera::cli {

// Not thread safe.
class Conversation {
 public:
  // Reads the file now; it stands before the next question. Errors are ReadFile's.
  absl::Status AddPicture(const std::string& path);
  // Adds the user's turn with the pictures that wait.
  void AddQuestion(const std::string& question);
  // Takes the last question back, its pictures waiting again: the answer failed.
  void TakeQuestionBack();
  void AddAnswer(const Answer& answer);
  void Reset();  // all but the system text

  std::string system;
  const std::vector<v1::Message>& messages() const { return messages_; }
  // Names of all pictures so far, by their index in the conversation; those that wait come last.
  std::vector<std::string> picture_names() const;
  const std::vector<v1::Box>& last_boxes() const { return last_boxes_; }

  // The conversation as JSON: system, messages with role and content (text, or a picture's file
  // name). Errors: the file cannot be written.
  absl::Status Save(const std::string& path) const;

 private:
  struct Picture {
    std::string name;
    std::string bytes;
  };

  std::vector<v1::Message> messages_;
  std::vector<std::string> sent_names_;
  std::vector<Picture> waiting_;
  std::vector<Picture> last_sent_;  // of the last question
  std::vector<v1::Box> last_boxes_;
};

}  // namespace tessera::cli

#endif  // TESSERA_SERVICES_CLI_CLIENT_CONVERSATION_H_
