#include "services/gateway/prompt/model_files.h"

#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace tessera::prompt {
namespace {

constexpr uintmax_t kMaxBytes = 256u << 20;

}  // namespace

absl::StatusOr<std::string> ReadModelFile(const std::string& model_dir, const std::string& name) {
  const std::filesystem::path path = std::filesystem::path(model_dir) / name;
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    return absl::NotFoundError(absl::StrCat("the model folder has no ", name));
  }
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error) return absl::InvalidArgumentError(absl::StrCat(name, " is not a readable file"));
  if (size > kMaxBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, " has ", size, " bytes, more than ", kMaxBytes));
  }
  std::string content(size, '\0');
  std::ifstream stream(path, std::ios::binary);
  if (!stream.read(content.data(), static_cast<std::streamsize>(size))) {
    return absl::InvalidArgumentError(absl::StrCat(name, " can't be read"));
  }
  return content;
}

absl::StatusOr<std::string> ReadOptionalModelFile(const std::string& model_dir,
                                                  const std::string& name) {
  absl::StatusOr<std::string> content = ReadModelFile(model_dir, name);
  if (absl::IsNotFound(content.status())) return std::string();
  return content;
}

}  // namespace tessera::prompt
