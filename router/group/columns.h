// Which live ranks make which columns. Pure.
#ifndef TESSERA_ROUTER_GROUP_COLUMNS_H_
#define TESSERA_ROUTER_GROUP_COLUMNS_H_

#include <cstdint>
#include <vector>

#include "router/group/group_view.h"

namespace tessera::router {

struct Columns {
  int32_t columns = 0;               // 0: a stage has no rank
  std::vector<GroupMember> members;  // by number: stage * columns + column
};

// live[stage]: its live ranks in order of expert rank. As many columns as the stage with the fewest
// ranks allows. A column of `before` whose ranks all live stays together, because its KV is whole,
// and keeps its number where that number still exists; the other ranks are paired in order of
// expert rank, and those of a stage that has too many are left out.
Columns ArrangeColumns(const GroupView& before, const std::vector<std::vector<GroupMember>>& live);

}  // namespace tessera::router

#endif  // TESSERA_ROUTER_GROUP_COLUMNS_H_
