#include "services/cli/default_model.h"

#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace tessera::cli {

absl::StatusOr<std::string> FindDefaultModel() {
  if (const char* from_environment = std::getenv("TESSERA_MODEL");
      from_environment != nullptr && *from_environment != '\0') {
    return std::string(from_environment);
  }
  std::error_code error;
  const std::filesystem::path binary = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) {
    return absl::NotFoundError("no model given: use --model DIR");
  }
  std::string looked_at;
  for (const char* relative : {"../../models/nano", "../share/tessera/models/nano"}) {
    const std::filesystem::path folder = (binary.parent_path() / relative).lexically_normal();
    if (std::filesystem::exists(folder / "config.json", error)) {
      return folder.string();
    }
    absl::StrAppend(&looked_at, looked_at.empty() ? "" : ", ", folder.string());
  }
  return absl::NotFoundError(absl::StrCat("no model given and none found at ", looked_at,
                                          ": use --model DIR or set TESSERA_MODEL"));
}

absl::Status CheckModelFolder(const std::string& folder) {
  std::error_code error;
  if (std::filesystem::is_directory(folder, error)) {
    return absl::OkStatus();
  }
  return absl::NotFoundError(absl::StrCat("there is no model folder ", folder));
}

}  // namespace tessera::cli
