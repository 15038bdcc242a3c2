#include "router/group/columns.h"

#include <algorithm>

namespace tessera::router {
namespace {

using Column = std::vector<GroupMember>;  // by stage

bool Contains(const std::vector<GroupMember>& ranks, const GroupMember& rank) {
  return std::find(ranks.begin(), ranks.end(), rank) != ranks.end();
}

Column ColumnOf(const GroupView& view, int32_t column) {
  Column ranks;
  for (int32_t stage = 0; stage < view.stages; ++stage) {
    ranks.push_back(view.members[stage * view.columns + column]);
  }
  return ranks;
}

bool AllLive(const Column& column, const std::vector<std::vector<GroupMember>>& live) {
  for (size_t stage = 0; stage < column.size(); ++stage) {
    if (!Contains(live[stage], column[stage])) return false;
  }
  return true;
}

void Take(const Column& column, std::vector<std::vector<GroupMember>>& free) {
  for (size_t stage = 0; stage < column.size(); ++stage) {
    std::erase(free[stage], column[stage]);
  }
}

}  // namespace

Columns ArrangeColumns(const GroupView& before, const std::vector<std::vector<GroupMember>>& live) {
  size_t count = live.empty() ? 0 : live[0].size();
  for (const std::vector<GroupMember>& ranks : live) count = std::min(count, ranks.size());
  std::vector<Column> columns(count);
  std::vector<Column> moved;
  std::vector<std::vector<GroupMember>> free = live;
  for (int32_t c = 0; c < before.columns; ++c) {
    Column column = ColumnOf(before, c);
    if (!AllLive(column, live)) continue;
    Take(column, free);
    (static_cast<size_t>(c) < count ? columns[c] : moved.emplace_back()) = std::move(column);
  }
  size_t next_moved = 0;
  size_t next_free = 0;
  for (Column& column : columns) {
    if (!column.empty()) continue;
    if (next_moved < moved.size()) {
      column = moved[next_moved++];
      continue;
    }
    for (const std::vector<GroupMember>& ranks : free) column.push_back(ranks[next_free]);
    ++next_free;
  }
  Columns result;
  result.columns = static_cast<int32_t>(count);
  for (size_t stage = 0; count > 0 && stage < live.size(); ++stage) {
    for (const Column& column : columns) result.members.push_back(column[stage]);
  }
  return result;
}

}  // namespace tessera::router
