// An answer as text for people and as JSON for programs.
#ifndef TESSERA_SERVICES_CLI_CLIENT_ANSWER_TEXT_H_
#define TESSERA_SERVICES_CLI_CLIENT_ANSWER_TEXT_H_

#include <string>

#include "absl/status/status.h"
#include "services/cli/client/inference_client.h"

namespace tessera::cli {

// One line without a line break: text, token_ids, boxes, usage, finish_reason, stop_string, seed,
// request_id, model, model_revision.
std::string AnswerJson(const Answer& answer);

// `giraffe  image 0  pixels (580, 270) to (999, 900)`, or why the box is not valid; without a line
// break.
std::string BoxText(const v1::Box& box);

// "stop", "stop_string", "length"; empty for an answer that did not end.
std::string FinishReasonName(v1::FinishReason reason);

// "tessera ask: NOT_FOUND: …", for stderr.
std::string ErrorText(const std::string& command, const absl::Status& status);

}  // namespace tessera::cli

#endif  // TESSERA_SERVICES_CLI_CLIENT_ANSWER_TEXT_H_
