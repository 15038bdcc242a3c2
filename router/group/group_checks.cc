#include "router/group/group_checks.h"

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"

namespace tessera::router {
namespace {

constexpr size_t kMaxIdBytes = 128;
constexpr size_t kMaxGroupNameBytes = 64;
constexpr size_t kMaxTextBytes = 256;
constexpr uint64_t kMaxEpoch = uint64_t{1} << 62;
constexpr size_t kMaxLayers = 1024;

absl::Status CheckText(const char* field, const std::string& value, size_t max_bytes,
                       bool may_be_empty = false) {
  if (value.empty() && !may_be_empty) {
    return absl::InvalidArgumentError(absl::StrCat(field, ": must not be empty"));
  }
  if (value.size() > max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, ": has ", value.size(), " bytes, at most ", max_bytes, " are allowed"));
  }
  return absl::OkStatus();
}

absl::Status CheckRange(const char* field, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": is ", value, ", must be ", low, " to ", high));
}

absl::Status CheckCurrent(const GroupView& view) {
  if (view.epoch > kMaxEpoch) {
    return absl::InvalidArgumentError("current.epoch: is more than 2^62");
  }
  TESSERA_RETURN_IF_ERROR(
      CheckRange("current.members", static_cast<int64_t>(view.members.size()), 0, kMaxGroupRanks));
  return CheckLayers(view.placement, view.columns);
}

template <typename Value>
absl::Status CheckSame(const char* field, const Value& of_group, const Value& of_joiner) {
  if (of_group == of_joiner) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": is ", of_joiner, ", but the group's members have ", of_group));
}

}  // namespace

absl::Status CheckJoin(const GroupJoin& join) {
  TESSERA_RETURN_IF_ERROR(CheckText("worker_id", join.worker_id, kMaxIdBytes));
  TESSERA_RETURN_IF_ERROR(CheckText("group", join.group, kMaxGroupNameBytes));
  TESSERA_RETURN_IF_ERROR(CheckRange("stages", join.stages, 1, kMaxGroupRanks));
  TESSERA_RETURN_IF_ERROR(
      CheckRange("expert_ranks", join.expert_ranks, 1, kMaxGroupRanks / join.stages));
  TESSERA_RETURN_IF_ERROR(CheckRange("stage", join.stage, 0, join.stages - 1));
  TESSERA_RETURN_IF_ERROR(CheckRange("expert_rank", join.expert_rank, 0, join.expert_ranks - 1));
  TESSERA_RETURN_IF_ERROR(CheckText("address", join.address, kMaxTextBytes));
  TESSERA_RETURN_IF_ERROR(CheckText("model_revision", join.model_revision, kMaxTextBytes, true));
  TESSERA_RETURN_IF_ERROR(CheckText("numerics", join.numerics, kMaxTextBytes, true));
  TESSERA_RETURN_IF_ERROR(CheckText("transport", join.transport, kMaxTextBytes, true));
  return join.current.has_value() ? CheckCurrent(*join.current) : absl::OkStatus();
}

absl::Status CheckAgrees(const GroupJoin& group, const GroupJoin& joiner) {
  TESSERA_RETURN_IF_ERROR(CheckSame("stages", group.stages, joiner.stages));
  TESSERA_RETURN_IF_ERROR(CheckSame("expert_ranks", group.expert_ranks, joiner.expert_ranks));
  TESSERA_RETURN_IF_ERROR(CheckSame("model_revision", group.model_revision, joiner.model_revision));
  TESSERA_RETURN_IF_ERROR(CheckSame("numerics", group.numerics, joiner.numerics));
  return CheckSame("transport", group.transport, joiner.transport);
}

absl::Status CheckLayers(const std::vector<LayerPlacement>& placement, int32_t columns) {
  TESSERA_RETURN_IF_ERROR(
      CheckRange("placement", static_cast<int64_t>(placement.size()), 0, kMaxLayers));
  int32_t last_layer = -1;
  for (const LayerPlacement& layer : placement) {
    if (layer.layer <= last_layer) {
      return absl::InvalidArgumentError(absl::StrCat(
          "placement.layer: ", layer.layer, " is not above ", last_layer, ", the one before"));
    }
    last_layer = layer.layer;
    for (const std::vector<int32_t>& holders : layer.holders) {
      int32_t last = -1;
      for (const int32_t column : holders) {
        if (column <= last || column >= columns) last = columns;
        if (last == columns) break;
        last = column;
      }
      if (last < 0 || last >= columns) {
        return absl::InvalidArgumentError(
            absl::StrCat("placement: the holders of each expert of layer ", layer.layer,
                         " must be at least one, ascending and below ", columns));
      }
    }
  }
  return absl::OkStatus();
}

bool FitsShape(const GroupView& view, const GroupJoin& shape) {
  return view.group == shape.group && view.stages == shape.stages && view.columns >= 1 &&
         view.columns <= shape.expert_ranks &&
         view.members.size() == static_cast<size_t>(view.stages) * view.columns;
}

}  // namespace tessera::router
