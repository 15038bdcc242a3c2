#include "worker/service/group_views.h"

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"

namespace tessera::worker {
namespace {

MemberId IdOf(const v1::GroupMember& member) {
  return {member.worker_id(), member.started_at_ms()};
}

}  // namespace

bool SameEpoch(const v1::GroupView& a, const v1::GroupView& b) {
  if (a.epoch() != b.epoch() || a.members_size() != b.members_size()) return false;
  for (int i = 0; i < a.members_size(); ++i) {
    if (IdOf(a.members(i)) != IdOf(b.members(i))) return false;
  }
  return true;
}

absl::StatusOr<std::optional<group::GroupPlace>> PlaceOf(const v1::GroupView& view,
                                                         const MemberId& self) {
  if (view.stages() < 1 || view.columns() < 1 ||
      int64_t{view.stages()} * view.columns() != view.members_size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the view of epoch ", view.epoch(), " lists ", view.members_size(),
                     " members for ", view.stages(), " stages of ", view.columns(), " columns"));
  }
  for (int i = 0; i < view.members_size(); ++i) {
    if (IdOf(view.members(i)) == self) {
      return group::GroupPlace{i / view.columns(), i % view.columns()};
    }
  }
  return std::nullopt;
}

std::vector<MemberId> ColumnOf(const v1::GroupView& view, int64_t column) {
  std::vector<MemberId> members;
  for (int64_t stage = 0; stage < view.stages(); ++stage) {
    members.push_back(IdOf(view.members(static_cast<int>(stage * view.columns() + column))));
  }
  return members;
}

std::vector<std::string> ColumnAddresses(const v1::GroupView& view, int64_t column) {
  std::vector<std::string> addresses;
  for (int64_t stage = 0; stage < view.stages(); ++stage) {
    addresses.push_back(view.members(static_cast<int>(stage * view.columns() + column)).address());
  }
  return addresses;
}

std::vector<std::string> OtherLeads(const v1::GroupView& view, int64_t column) {
  std::vector<std::string> addresses;
  for (int i = 0; i < view.columns(); ++i) {
    if (i != column) addresses.push_back(view.members(i).address());
  }
  return addresses;
}

absl::StatusOr<group::ExpertPlacement> PlacementOf(const v1::GroupView& view, int64_t first_layer,
                                                   const std::vector<int64_t>& experts_of_layer) {
  group::ExpertPlacement placement = group::EvenPlacement(experts_of_layer, view.columns());
  const auto num_layers = static_cast<int64_t>(experts_of_layer.size());
  for (const v1::LayerPlacement& deviating : view.placement()) {
    const int64_t layer = deviating.layer() - first_layer;
    if (layer < 0 || layer >= num_layers) continue;  // of another stage
    std::vector<std::vector<int32_t>>& holders = placement.holders[static_cast<size_t>(layer)];
    holders.clear();
    for (const v1::ExpertHolders& expert : deviating.experts()) {
      holders.emplace_back(expert.columns().begin(), expert.columns().end());
    }
  }
  TESSERA_RETURN_IF_ERROR(group::CheckPlacement(placement, experts_of_layer, view.columns()));
  return placement;
}

}  // namespace tessera::worker
