// The JSON lines that a role process writes to its ready descriptor:
//   {"loaded_bytes": 1048576, "total_bytes": 6700000000}    any number of times, while weights load
//   {"address": "127.0.0.1:41235"}                          once: it serves there
//   {"error": "…", "code": "NOT_FOUND"}                     once, instead: why it cannot serve
#ifndef TESSERA_SERVICES_CLI_SUPERVISOR_READY_LINE_H_
#define TESSERA_SERVICES_CLI_SUPERVISOR_READY_LINE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tessera::supervisor {

struct LoadingLine {
  int64_t loaded_bytes = 0;
  int64_t total_bytes = 0;
};
struct ServingLine {
  std::string address;  // host:port
};
struct FailedLine {
  absl::Status status;  // never OK
};
using ReadyLine = std::variant<LoadingLine, ServingLine, FailedLine>;

// INVALID_ARGUMENT: not one of the three forms.
absl::StatusOr<ReadyLine> ParseReadyLine(std::string_view line);

// The third form, with its line break.
std::string FailedLineText(const absl::Status& status);

}  // namespace tessera::supervisor

#endif  // TESSERA_SERVICES_CLI_SUPERVISOR_READY_LINE_H_
