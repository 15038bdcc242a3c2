// A question as people type it, to a request of the public API.
#ifndef TESSERA_SERVICES_CLI_CLIENT_REQUEST_H_
#define TESSERA_SERVICES_CLI_CLIENT_REQUEST_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/cli/flags.h"
#include "tessera/v1/inference.pb.h"

namespace tessera::cli {

// Flags that `ask` and `chat` share.
struct SamplingFlags {
  std::optional<int64_t> max_tokens;
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::optional<int64_t> top_k;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
  std::optional<double> repetition_penalty;
  std::string system;
  bool grounding = false;

  void Declare(Flags& flags);
  // INVALID_ARGUMENT: a number that the wire cannot hold. Everything else is the server's to judge.
  absl::Status Fill(v1::GenerateRequest* request) const;
};

// The file's bytes. NOT_FOUND, PERMISSION_DENIED or INVALID_ARGUMENT (a folder) name the path.
absl::StatusOr<std::string> ReadFile(const std::string& path);

// A user's turn. Without `<image>` in the question, each picture stands before it with a line break
// after it, as in official prompts; with it, the placeholders take the pictures in order, and the
// server compares the counts.
v1::Message UserMessage(const std::vector<std::string>& pictures, const std::string& question);

}  // namespace tessera::cli

#endif  // TESSERA_SERVICES_CLI_CLIENT_REQUEST_H_
