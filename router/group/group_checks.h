// What a rank may say of itself and of its group. Pure.
#ifndef TESSERA_ROUTER_GROUP_GROUP_CHECKS_H_
#define TESSERA_ROUTER_GROUP_GROUP_CHECKS_H_

#include <vector>

#include "absl/status/status.h"
#include "router/group/group_view.h"

namespace tessera::router {

// INVALID_ARGUMENT names the field and its bound.
absl::Status CheckJoin(const GroupJoin& join);

// INVALID_ARGUMENT names the field in which the joiner differs from its group, and both values.
absl::Status CheckAgrees(const GroupJoin& group, const GroupJoin& joiner);

// INVALID_ARGUMENT: layers not ascending, an expert without a holder, holders not ascending or not
// below columns.
absl::Status CheckLayers(const std::vector<LayerPlacement>& placement, int32_t columns);

// Whether a group of the joiner's shape can be in this view.
bool FitsShape(const GroupView& view, const GroupJoin& shape);

}  // namespace tessera::router

#endif  // TESSERA_ROUTER_GROUP_GROUP_CHECKS_H_
