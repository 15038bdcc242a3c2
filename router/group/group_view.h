// What the router knows of a group of ranks, as plain values. The wire form is group.proto.
#ifndef TESSERA_ROUTER_GROUP_GROUP_VIEW_H_
#define TESSERA_ROUTER_GROUP_GROUP_VIEW_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tessera::router {

inline constexpr int32_t kMaxGroupRanks = 64;  // stages * expert ranks

// One start of a process: the same id with another start is another member.
struct GroupMember {
  std::string worker_id;
  std::string address;  // host:port
  int64_t started_at_ms = 0;

  friend bool operator==(const GroupMember&, const GroupMember&) = default;
};

struct LayerPlacement {
  int32_t layer = 0;                          // of the whole model
  std::vector<std::vector<int32_t>> holders;  // by expert: columns, ascending, at least one

  friend bool operator==(const LayerPlacement&, const LayerPlacement&) = default;
};

// The members of a group in one epoch.
struct GroupView {
  std::string group;
  uint64_t epoch = 0;  // 0: the group cannot stand now; then there are no columns and no members
  int32_t stages = 1;
  int32_t columns = 0;
  std::vector<GroupMember> members;       // by number: stage * columns + column
  std::vector<LayerPlacement> placement;  // layers ascending; the others are placed evenly

  friend bool operator==(const GroupView&, const GroupView&) = default;
};

// A rank that wants to be in a group.
struct GroupJoin {
  std::string worker_id;
  std::string group;
  int32_t stages = 1;
  int32_t expert_ranks = 1;
  int32_t stage = 0;
  int32_t expert_rank = 0;
  std::string address;
  int64_t started_at_ms = 0;
  std::string model_revision;
  std::string numerics;
  std::string transport;
  std::optional<GroupView> current;  // the view that the rank is in

  GroupMember Member() const { return {worker_id, address, started_at_ms}; }
};

}  // namespace tessera::router

#endif  // TESSERA_ROUTER_GROUP_GROUP_VIEW_H_
