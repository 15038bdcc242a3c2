#include "services/cli/check/check.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/cli/check/data_checks.h"
#include "services/cli/check/golden_files.h"
#include "services/cli/check/model_check.h"
#include "services/cli/check/report.h"

namespace tessera::check {
namespace {

bool Has(const std::string& path) { return FileExists(path) || FileExists(path + ".gz"); }

bool IsModel(const std::string& dir) {
  return Has(dir + "/config.json") && IsFolder(dir + "/golden");
}

bool IsModels(const std::string& dir) {
  for (const std::string& name : ListFolder(dir)) {
    if (IsModel(absl::StrCat(dir, "/", name))) return true;
  }
  return false;
}

bool IsTokenizers(const std::string& dir) {
  for (const std::string& name : ListFolder(dir)) {
    const std::string prefix = absl::StrCat(dir, "/", name);
    if (IsFolder(prefix) && Has(prefix + ".encode.jsonl")) return true;
  }
  return false;
}

bool IsProcessor(const std::string& dir) {
  return Has(dir + "/cases.jsonl") && Has(dir + "/resolutions.json");
}

// sampling/ and grounding/ both hold one cases.json: its first case tells which it is.
bool HasCasesWith(const std::string& dir, const std::string& key) {
  if (!Has(dir + "/cases.json")) return false;
  const auto cases = ReadJson(dir + "/cases.json");
  return cases.ok() && cases->is_array() && !cases->empty() && cases->front().is_object() &&
         cases->front().contains(key);
}

absl::Status CheckModels(const std::string& dir, const Options& options, Report* report) {
  for (const std::string& name : ListFolder(dir)) {
    const std::string model = absl::StrCat(dir, "/", name);
    if (IsModel(model)) TESSERA_RETURN_IF_ERROR(CheckModel(model, options, report));
  }
  return absl::OkStatus();
}

// One folder of the layout; *found says whether it was one.
absl::Status CheckFolder(const std::string& dir, const Options& options, Report* report,
                         bool* found) {
  *found = true;
  if (IsModel(dir)) return CheckModel(dir, options, report);
  if (IsModels(dir)) return CheckModels(dir, options, report);
  if (IsTokenizers(dir)) return CheckTokenizers(dir, report);
  if (IsProcessor(dir)) return CheckProcessor(dir, report);
  if (HasCasesWith(dir, "kept_ids")) return CheckSampling(dir, report);
  if (HasCasesWith(dir, "response")) return CheckGrounding(dir, report);
  *found = false;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<bool> Run(const std::string& dir, const Options& options, std::ostream& out) {
  if (options.table == nullptr || options.pool == nullptr) {
    return absl::InvalidArgumentError("check options: table and pool must be set");
  }
  if (!IsFolder(dir)) return absl::NotFoundError("check: the golden folder is not there");
  Report report;
  bool found = false;
  TESSERA_RETURN_IF_ERROR(CheckFolder(dir, options, &report, &found));
  if (!found) {
    for (const char* part : {"tokenizers", "processor", "sampling", "grounding", "models"}) {
      const std::string folder = absl::StrCat(dir, "/", part);
      bool found_part = false;
      if (IsFolder(folder))
        TESSERA_RETURN_IF_ERROR(CheckFolder(folder, options, &report, &found_part));
      found = found || found_part;
    }
  }
  if (!found)
    return absl::NotFoundError("check: the folder holds no golden data of the documented layout");
  report.Print(out);
  return report.passed();
}

}  // namespace tessera::check
