// What a view of a group means for one of its ranks. Pure functions.
#ifndef TESSERA_WORKER_SERVICE_GROUP_VIEWS_H_
#define TESSERA_WORKER_SERVICE_GROUP_VIEWS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tessera/v1/group.pb.h"
#include "worker/group/expert_placement.h"
#include "worker/group/group_model.h"

namespace tessera::worker {

// One start of one worker.
struct MemberId {
  std::string worker_id;
  int64_t started_at_ms = 0;

  friend bool operator==(const MemberId&, const MemberId&) = default;
};

// Both views are the same epoch of the same members.
bool SameEpoch(const v1::GroupView& a, const v1::GroupView& b);

// Where the member stands; nullopt: it is not listed. INVALID_ARGUMENT: the view's numbers do not
// fit each other.
absl::StatusOr<std::optional<group::GroupPlace>> PlaceOf(const v1::GroupView& view,
                                                         const MemberId& self);

// The members of a column, stage by stage. The view has passed PlaceOf.
std::vector<MemberId> ColumnOf(const v1::GroupView& view, int64_t column);
std::vector<std::string> ColumnAddresses(const v1::GroupView& view, int64_t column);

// Addresses of the leads of the other columns.
std::vector<std::string> OtherLeads(const v1::GroupView& view, int64_t column);

// The placement of a stage that holds layers first_layer, first_layer + 1, … of the model.
// experts_of_layer: of those. INVALID_ARGUMENT: as CheckPlacement.
absl::StatusOr<group::ExpertPlacement> PlacementOf(const v1::GroupView& view, int64_t first_layer,
                                                   const std::vector<int64_t>& experts_of_layer);

}  // namespace tessera::worker

#endif  // TESSERA_WORKER_SERVICE_GROUP_VIEWS_H_
