#include "worker/group/expert_placement.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "services/base/check.h"
#include "services/base/status_macros.h"

namespace tessera::group {
namespace {

absl::Status CheckHolders(const std::vector<int32_t>& holders, int64_t ranks,
                          const std::string& where) {
  if (holders.empty()) return absl::InvalidArgumentError(absl::StrCat(where, " has no holder"));
  for (size_t i = 0; i < holders.size(); ++i) {
    if (holders[i] < 0 || holders[i] >= ranks) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": rank ", holders[i], "; must be in 0..", ranks - 1));
    }
    if (i > 0 && holders[i] <= holders[i - 1])
      return absl::InvalidArgumentError(absl::StrCat(where, ": holders must ascend"));
  }
  return absl::OkStatus();
}

}  // namespace

ExpertPlacement EvenPlacement(const std::vector<int64_t>& experts_of_layer, int64_t ranks) {
  TESSERA_CHECK(ranks >= 1) << ranks;
  ExpertPlacement placement;
  for (const int64_t experts : experts_of_layer) {
    auto& layer = placement.holders.emplace_back();
    for (int64_t expert = 0; expert < experts; ++expert)
      layer.push_back({static_cast<int32_t>(expert * ranks / experts)});
  }
  return placement;
}

int32_t HolderFor(const std::vector<int32_t>& holders, int32_t home) {
  if (std::binary_search(holders.begin(), holders.end(), home)) return home;
  return holders[static_cast<size_t>(home) % holders.size()];
}

absl::Status CheckPlacement(const ExpertPlacement& placement,
                            const std::vector<int64_t>& experts_of_layer, int64_t ranks) {
  if (placement.holders.size() != experts_of_layer.size()) {
    return absl::InvalidArgumentError(absl::StrCat("placement: ", placement.holders.size(),
                                                   " layers; must be ", experts_of_layer.size()));
  }
  for (size_t layer = 0; layer < experts_of_layer.size(); ++layer) {
    const auto& experts = placement.holders[layer];
    if (static_cast<int64_t>(experts.size()) != experts_of_layer[layer]) {
      return absl::InvalidArgumentError(absl::StrCat("placement: layer ", layer, ": ",
                                                     experts.size(), " experts; must be ",
                                                     experts_of_layer[layer]));
    }
    for (size_t expert = 0; expert < experts.size(); ++expert) {
      TESSERA_RETURN_IF_ERROR(CheckHolders(
          experts[expert], ranks, absl::StrCat("placement: layer ", layer, ": expert ", expert)));
    }
  }
  return absl::OkStatus();
}

}  // namespace tessera::group
