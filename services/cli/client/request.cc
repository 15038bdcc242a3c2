#include "services/cli/client/request.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"

namespace tessera::cli {
namespace {

absl::StatusOr<int32_t> ToInt32(const char* flag, int64_t value) {
  if (value < std::numeric_limits<int32_t>::min() || value > std::numeric_limits<int32_t>::max()) {
    return absl::InvalidArgumentError(absl::StrCat(flag, ": ", value, " is beyond 32 bits"));
  }
  return static_cast<int32_t>(value);
}

}  // namespace

void SamplingFlags::Declare(Flags& flags) {
  flags.Group("Answer");
  flags.Integer("-n,--max-tokens", &max_tokens,
                "most tokens of the answer; without it 512, or what the context leaves");
  flags.Number("--temperature", &temperature, "0 is greedy, up to 100; without it 0");
  flags.Number("--top-p", &top_p, "nucleus, above 0 and at most 1; without it 1");
  flags.Integer("--top-k", &top_k, "only the k most likely tokens; without it all");
  flags.Unsigned(
      "--seed", &seed,
      "of the random stream: the same seed gives the same answer; without it drawn by the server");
  flags.Texts("--stop", &stop, "the answer ends before this text");
  flags.Number("--repetition-penalty", &repetition_penalty,
               "above 1 makes repeating less likely; without it 1");
  flags.Text("--system", &system, "text before the first turn");
  flags.Switch("--grounding", &grounding,
               "name objects with their boxes: `<|grounding|>` before the question");
}

absl::Status SamplingFlags::Fill(v1::GenerateRequest* request) const {
  v1::SamplingParameters* sampling = request->mutable_sampling();
  if (max_tokens.has_value()) {
    TESSERA_ASSIGN_OR_RETURN(const int32_t value, ToInt32("--max-tokens", *max_tokens));
    sampling->set_max_tokens(value);
  }
  if (top_k.has_value()) {
    TESSERA_ASSIGN_OR_RETURN(const int32_t value, ToInt32("--top-k", *top_k));
    sampling->set_top_k(value);
  }
  if (temperature.has_value()) sampling->set_temperature(*temperature);
  if (top_p.has_value()) sampling->set_top_p(*top_p);
  if (seed.has_value()) sampling->set_seed(*seed);
  if (repetition_penalty.has_value()) sampling->set_repetition_penalty(*repetition_penalty);
  for (const std::string& text : stop) {
    sampling->add_stop(text);
  }
  request->set_system_prompt(system);
  request->mutable_grounding()->set_grounded_answer(grounding);
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is a folder"));
  }
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  if (file && file.peek() != std::ifstream::traits_type::eof()) {
    bytes << file.rdbuf();
  }
  if (!file && !file.eof()) {
    const std::string text = absl::StrCat("cannot read ", path, ": ", std::strerror(errno));
    return errno == EACCES ? absl::PermissionDeniedError(text) : absl::NotFoundError(text);
  }
  return bytes.str();
}

v1::Message UserMessage(const std::vector<std::string>& pictures, const std::string& question) {
  v1::Message message;
  message.set_role(v1::ROLE_USER);
  const bool placeholders = question.find("<image>") != std::string::npos;
  for (const std::string& bytes : pictures) {
    message.add_content()->mutable_image()->set_data(bytes);
    if (!placeholders) {
      message.add_content()->set_text("\n");
    }
  }
  message.add_content()->set_text(question);
  return message;
}

}  // namespace tessera::cli
