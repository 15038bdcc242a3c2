#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/cli/check/data_checks.h"
#include "services/cli/check/golden_files.h"
#include "services/gateway/answer/answer.h"

namespace tessera::check {
namespace {

using nlohmann::json;

bool SameBoxes(const std::optional<std::vector<answer::ReferenceBox>>& ours, const json& theirs) {
  if (!ours.has_value() || !theirs.is_array()) return !ours.has_value() && theirs.is_null();
  if (ours->size() != theirs.size()) return false;
  for (size_t i = 0; i < ours->size(); ++i) {
    const answer::ReferenceBox& box = (*ours)[i];
    if (box.label != Text(theirs[i], "label")) return false;
    if (Ints(Member(theirs[i], "box")) != std::vector<int64_t>{box.x1, box.y1, box.x2, box.y2})
      return false;
  }
  return true;
}

}  // namespace

absl::Status CheckGrounding(const std::string& dir, Report* report) {
  report->SetSubject("grounding");
  TESSERA_ASSIGN_OR_RETURN(const json cases, ReadJson(dir + "/cases.json"));
  if (!cases.is_array())
    return absl::InvalidArgumentError("golden file cases.json of grounding is not a list");
  for (size_t i = 0; i < cases.size(); ++i) {
    const std::vector<int64_t> size = Ints(Member(cases[i], "image_size"));
    if (size.size() != 2)
      return absl::InvalidArgumentError(absl::StrCat("golden grounding case ", i, ": image_size"));
    const auto boxes = answer::ParseReferenceBoxes(Text(cases[i], "response"), {size[0], size[1]});
    report->AddMismatches("boxes", SameBoxes(boxes, Member(cases[i], "boxes")) ? 0 : 1,
                          absl::StrCat("case ", i));
  }
  return absl::OkStatus();
}

}  // namespace tessera::check
