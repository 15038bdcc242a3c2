// `tessera ask`: one question, one streamed answer.
#include <cstdio>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"
#include "services/cli/client/annotate_answer.h"
#include "services/cli/client/answer_text.h"
#include "services/cli/client/request.h"
#include "services/cli/client/session.h"
#include "services/cli/commands.h"
#include "services/cli/flags.h"
#include "services/cli/signal_watcher.h"

namespace tessera::cli {
namespace {

struct AskFlags {
  std::vector<std::string> images;
  std::string question;
  std::string annotate;
  bool json = false;
  absl::Duration timeout = absl::Minutes(10);
  SamplingFlags sampling;

  void Declare(Flags& flags) {
    flags.Texts("-i,--image", &images, "JPEG, PNG, WebP, GIF or BMP file", "FILE");
    flags.Switch(
        "--json", &json,
        "end with one line of JSON: text, token_ids, boxes, usage, finish_reason, seed and more");
    flags.Text("--annotate", &annotate,
               "write the first picture with its boxes as PNG; pictures with boxes after it as "
               "FILE-1, FILE-2, …",
               "FILE");
    flags.Duration("--timeout", &timeout, "deadline of the answer, after the server is ready");
    flags.Positional("QUESTION", &question,
                     "the question; - reads it from standard input. `<image>` marks where a "
                     "picture stands (all, or none: then they "
                     "stand before the text)",
                     /*required=*/true);
    sampling.Declare(flags);
  }
};

std::string ReadStandardInput() {
  std::string text(std::istreambuf_iterator<char>(std::cin), {});
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) {
    text.pop_back();
  }
  return text;
}

void PrintEnd(const Answer& answer, bool json) {
  if (!answer.text.empty() && answer.text.back() != '\n') {
    std::fputc('\n', stdout);
  }
  if (json) {
    std::printf("%s\n", AnswerJson(answer).c_str());
  } else {
    for (const v1::Box& box : answer.boxes) {
      std::printf("box: %s\n", BoxText(box).c_str());
    }
  }
  std::fflush(stdout);
}

absl::Status Ask(AskFlags flags, Session* session) {
  std::vector<std::string> pictures;
  for (const std::string& path : flags.images) {
    TESSERA_ASSIGN_OR_RETURN(std::string bytes, ReadFile(path));
    pictures.push_back(std::move(bytes));
  }
  if (!flags.annotate.empty() && pictures.empty()) {
    return absl::InvalidArgumentError(
        "--annotate: there is no picture to draw on; give one with --image");
  }
  if (flags.question == "-") {
    flags.question = ReadStandardInput();
  }
  v1::GenerateRequest request;
  *request.add_messages() = UserMessage(pictures, flags.question);
  TESSERA_RETURN_IF_ERROR(flags.sampling.Fill(&request));
  TESSERA_RETURN_IF_ERROR(session->Open());
  Answer answer;
  const absl::Status status = session->client().Generate(
      request, absl::Now() + flags.timeout,
      [](const std::string& text) {
        std::fwrite(text.data(), 1, text.size(), stdout);
        std::fflush(stdout);
      },
      &answer);
  if (!status.ok()) {
    if (!answer.text.empty()) {
      std::fputc('\n', stdout);
      std::fflush(stdout);
    }
    return status;
  }
  PrintEnd(answer, flags.json);
  if (!flags.annotate.empty()) {
    TESSERA_RETURN_IF_ERROR(AnnotateAnswer(pictures, answer, flags.annotate));
  }
  return absl::OkStatus();
}

}  // namespace

int RunAskCommand(const Arguments& arguments) {
  log::SetLevel(log::Level::kError);  // a private cluster's supervisor is not the user's business
  Flags flags("ask",
              "Answers one question about pictures, or without one, and streams the text to "
              "standard output. Talks to the cluster at "
              "--server, or brings a private one up for the call.");
  AskFlags ask;
  ask.Declare(flags);
  Session session(flags);
  const SignalWatcher signals([&session](int, int) { session.Interrupt(); });
  if (const auto exit_code = flags.Parse(arguments); exit_code.has_value()) {
    return *exit_code;
  }
  const absl::Status status = Ask(std::move(ask), &session);
  if (!status.ok()) {
    std::fputs(ErrorText("ask", status).c_str(), stderr);
    return kExitFailure;
  }
  return kExitOk;
}

}  // namespace tessera::cli
