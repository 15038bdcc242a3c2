#include "services/cli/supervisor/ready_line.h"

#include "nlohmann/json.hpp"

namespace tessera::supervisor {
namespace {

absl::StatusCode CodeFromName(const std::string& name) {
  for (int code = 1; code <= 16; ++code) {
    if (absl::StatusCodeToString(static_cast<absl::StatusCode>(code)) == name) {
      return static_cast<absl::StatusCode>(code);
    }
  }
  return absl::StatusCode::kUnknown;
}

bool IsText(const nlohmann::json& object, const char* key) {
  return object.contains(key) && object[key].is_string();
}

bool IsInteger(const nlohmann::json& object, const char* key) {
  return object.contains(key) && object[key].is_number_integer();
}

}  // namespace

absl::StatusOr<ReadyLine> ParseReadyLine(std::string_view line) {
  const nlohmann::json object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (object.is_object()) {
    if (IsText(object, "address")) {
      return ServingLine{object["address"].get<std::string>()};
    }
    if (IsText(object, "error")) {
      const std::string code = IsText(object, "code") ? object["code"].get<std::string>() : "";
      return FailedLine{absl::Status(CodeFromName(code), object["error"].get<std::string>())};
    }
    if (IsInteger(object, "loaded_bytes") && IsInteger(object, "total_bytes")) {
      return LoadingLine{object["loaded_bytes"].get<int64_t>(),
                         object["total_bytes"].get<int64_t>()};
    }
  }
  return absl::InvalidArgumentError("not a ready line");
}

std::string FailedLineText(const absl::Status& status) {
  const nlohmann::json object = {{"error", std::string(status.message())},
                                 {"code", absl::StatusCodeToString(status.code())}};
  return object.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace tessera::supervisor
