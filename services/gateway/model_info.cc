#include "services/gateway/model_info.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/gateway/prompt/model_files.h"

namespace tessera::gateway {
namespace {

constexpr int64_t kMaxValue = int64_t{1} << 30;

// fallback: the architecture's own default where the file leaves the key out.
absl::StatusOr<int64_t> PositiveInt(const nlohmann::json& config, const char* key,
                                    int64_t fallback) {
  const auto found = config.find(key);
  if (found == config.end()) return fallback;
  if (!found->is_number_integer() || *found < 1 || *found > kMaxValue) {
    return absl::InvalidArgumentError(absl::StrCat(
        "config.json: language_config.", key, ": expected an integer in [1, ", kMaxValue, "]"));
  }
  return found->get<int64_t>();
}

}  // namespace

absl::StatusOr<ModelInfo> ReadModelInfo(const std::string& model_dir,
                                        const std::string& configured_name) {
  TESSERA_ASSIGN_OR_RETURN(const std::string text, prompt::ReadModelFile(model_dir, "config.json"));
  const nlohmann::json config = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object() || !config.contains("language_config") ||
      !config["language_config"].is_object()) {
    return absl::InvalidArgumentError("config.json: language_config: expected an object");
  }
  const nlohmann::json& language = config["language_config"];
  ModelInfo info;
  TESSERA_ASSIGN_OR_RETURN(info.context_tokens,
                           PositiveInt(language, "max_position_embeddings", 2048));
  TESSERA_ASSIGN_OR_RETURN(info.vocabulary_size, PositiveInt(language, "vocab_size", 102400));
  info.name = configured_name;
  if (info.name.empty()) {
    std::filesystem::path path = std::filesystem::path(model_dir).lexically_normal();
    if (!path.has_filename()) path = path.parent_path();  // "model/" ends in an empty name
    info.name = path.filename().string();
  }
  return info;
}

}  // namespace tessera::gateway
