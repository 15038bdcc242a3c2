// `tessera chat`: a conversation about pictures.
#include <signal.h>

#include <atomic>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"
#include "services/cli/client/answer_text.h"
#include "services/cli/client/conversation.h"
#include "services/cli/client/request.h"
#include "services/cli/client/session.h"
#include "services/cli/commands.h"
#include "services/cli/flags.h"
#include "services/cli/line_reader.h"
#include "services/cli/signal_watcher.h"

namespace tessera::cli {
namespace {

constexpr char kHelp[] =
    "/image FILE   show a picture with the next question\n"
    "/system TEXT  text before the first turn; without TEXT none\n"
    "/boxes        the boxes of the last answer\n"
    "/save FILE    write the conversation as JSON\n"
    "/reset        forget the conversation\n"
    "/help         this list\n"
    "/quit         end, as does the end of the input\n";

class Chat {
 public:
  explicit Chat(Flags& flags) : session_(flags) {}

  // Declares the flags of the conversation.
  void Declare(Flags& flags) {
    flags.Group("Conversation");
    flags.Texts("-i,--image", &images_, "picture for the first question", "FILE");
    flags.Duration("--timeout", &timeout_, "deadline of each answer");
    sampling_.Declare(flags);
  }
  absl::Status Open();
  // Reads and answers until the end; false if a line failed and nobody sat there to see it.
  bool Run();

  // Any thread. Ctrl-C: ends the answer in progress, else the line. SIGTERM: ends the chat.
  void OnSignal(int signal_number) {
    if (!reading_) {
      session_.Interrupt();
    } else if (signal_number == SIGINT) {
      reader_.Interrupt();
    }
    if (signal_number == SIGTERM) {
      reader_.End();
    }
  }

 private:
  absl::Status Obey(const std::string& line);  // a line that begins with a slash
  absl::Status AnswerQuestion(const std::string& question);

  Session session_;
  std::vector<std::string> images_;
  absl::Duration timeout_ = absl::Minutes(10);
  SamplingFlags sampling_;
  LineReader reader_;
  Conversation conversation_;
  std::atomic<bool> reading_ = false;
  bool quit_ = false;
};

absl::Status Chat::Open() {
  conversation_.system = sampling_.system;
  for (const std::string& path : images_) {
    TESSERA_RETURN_IF_ERROR(conversation_.AddPicture(path));
  }
  return session_.Open();
}

bool Chat::Run() {
  if (reader_.is_terminal()) {
    std::fputs("Type a question, or /help.\n", stdout);
  }
  bool all_ok = true;
  while (!quit_) {
    reading_ = true;
    const std::optional<std::string> line = reader_.Read("> ");
    reading_ = false;
    if (!line.has_value()) {
      break;
    }
    if (line->find_first_not_of(" \t\r") == std::string::npos) {
      continue;
    }
    const absl::Status status = line->front() == '/' ? Obey(*line) : AnswerQuestion(*line);
    if (!status.ok()) {
      std::fputs(ErrorText("chat", status).c_str(), stderr);
      all_ok = false;
    }
    std::fflush(stdout);
  }
  return all_ok || reader_.is_terminal();
}

absl::Status Chat::Obey(const std::string& line) {
  const size_t blank = line.find(' ');
  const std::string command = line.substr(0, blank);
  std::string argument = blank == std::string::npos ? "" : line.substr(blank + 1);
  argument.erase(0, argument.find_first_not_of(' '));
  if (command == "/quit") {
    quit_ = true;
  } else if (command == "/help") {
    std::fputs(kHelp, stdout);
  } else if (command == "/reset") {
    conversation_.Reset();
    std::puts("The conversation is forgotten.");
  } else if (command == "/system") {
    conversation_.system = argument;
  } else if (command == "/image") {
    TESSERA_RETURN_IF_ERROR(conversation_.AddPicture(argument));
    std::printf("image %d: %s\n", static_cast<int>(conversation_.picture_names().size()) - 1,
                argument.c_str());
  } else if (command == "/boxes") {
    for (const v1::Box& box : conversation_.last_boxes()) {
      std::printf("box: %s\n", BoxText(box).c_str());
    }
    if (conversation_.last_boxes().empty()) {
      std::puts("The last answer has no boxes.");
    }
  } else if (command == "/save") {
    TESSERA_RETURN_IF_ERROR(conversation_.Save(argument));
    std::printf("saved: %s\n", argument.c_str());
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no ", command, "; /help lists the commands"));
  }
  return absl::OkStatus();
}

absl::Status Chat::AnswerQuestion(const std::string& question) {
  conversation_.AddQuestion(question);
  v1::GenerateRequest request;
  TESSERA_RETURN_IF_ERROR(sampling_.Fill(&request));
  request.set_system_prompt(conversation_.system);
  for (const v1::Message& message : conversation_.messages()) {
    *request.add_messages() = message;
  }
  Answer answer;
  const absl::Status status = session_.client().Generate(
      request, absl::Now() + timeout_,
      [](const std::string& text) {
        std::fwrite(text.data(), 1, text.size(), stdout);
        std::fflush(stdout);
      },
      &answer);
  if (!answer.text.empty()) {
    std::fputc('\n', stdout);
  }
  if (!status.ok()) {
    conversation_.TakeQuestionBack();
    return status;
  }
  conversation_.AddAnswer(answer);
  return absl::OkStatus();
}

}  // namespace

int RunChatCommand(const Arguments& arguments) {
  log::SetLevel(log::Level::kError);  // a private cluster's supervisor is not the user's business
  Flags flags("chat",
              "A conversation about pictures: one question a line, with history. Reads lines from "
              "standard input, with editing on a "
              "terminal; lines that begin with a slash are commands, /help lists them. Talks to "
              "the cluster at --server, or brings a "
              "private one up.",
              "Exit codes: 0 success, 1 failure (from a pipe also if a single line failed), 2 "
              "wrong usage.");
  Chat chat(flags);
  chat.Declare(flags);
  const SignalWatcher signals([&chat](int signal_number, int) { chat.OnSignal(signal_number); });
  if (const auto exit_code = flags.Parse(arguments); exit_code.has_value()) {
    return *exit_code;
  }
  if (const absl::Status status = chat.Open(); !status.ok()) {
    std::fputs(ErrorText("chat", status).c_str(), stderr);
    return kExitFailure;
  }
  return chat.Run() ? kExitOk : kExitFailure;
}

}  // namespace tessera::cli
