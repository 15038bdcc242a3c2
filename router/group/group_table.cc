#include "router/group/group_table.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "router/group/columns.h"
#include "router/group/group_checks.h"
#include "services/base/status_macros.h"

namespace tessera::router {
namespace {

constexpr size_t kMaxGroups = 256;

bool HasMember(const GroupView& view, const GroupMember& member) {
  return std::find(view.members.begin(), view.members.end(), member) != view.members.end();
}

}  // namespace

// Epochs begin at the clock, so that they grow over restarts even if no rank reports its view.
GroupTable::GroupTable(const GroupTableOptions& options, const Clock& clock)
    : options_(options),
      clock_(clock),
      last_epoch_(static_cast<uint64_t>(std::max<int64_t>(absl::ToUnixMillis(clock.Now()), 0))) {}

absl::StatusOr<uint64_t> GroupTable::Join(const GroupJoin& join) {
  TESSERA_RETURN_IF_ERROR(CheckJoin(join));
  const absl::Time now = clock_.Now();
  Expire(now);  // who is silent for too long holds no place
  auto found = groups_.find(join.group);
  if (found == groups_.end()) {
    if (groups_.size() >= kMaxGroups) {
      return absl::ResourceExhaustedError(absl::StrCat("group: there are ", kMaxGroups, " groups"));
    }
    found = groups_.emplace(join.group, Group{}).first;
    found->second.first = join;
    found->second.first_join = now;
  }
  Group& group = found->second;
  TESSERA_RETURN_IF_ERROR(CheckAgrees(group.first, join));
  TESSERA_RETURN_IF_ERROR(CheckPlaceIsFree(group, join));
  if (const std::optional<uint64_t> ticket = Continue(group, join)) return *ticket;
  const bool anew = RemoveEarlierStarts(group, join);
  const uint64_t ticket = next_ticket_++;
  Record& record = group.places[{join.stage, join.expert_rank}];
  record.join = join;
  record.join.current.reset();
  record.ticket = ticket;
  record.joined = now;
  NoteReport(group, join);
  Advance(join.group, now, anew);
  return ticket;
}

absl::Status GroupTable::CheckPlaceIsFree(const Group& group, const GroupJoin& join) const {
  for (const auto& [place, record] : group.places) {
    const bool same_id = record.join.worker_id == join.worker_id;
    if (same_id && record.join.started_at_ms > join.started_at_ms) {
      return absl::AlreadyExistsError("worker_id: belongs to a live rank that started later");
    }
    if (!same_id && place == Place{join.stage, join.expert_rank} &&
        record.join.started_at_ms >= join.started_at_ms) {
      return absl::AlreadyExistsError(
          absl::StrCat("stage ", join.stage, ", expert_rank ", join.expert_rank,
                       ": is the place of a live rank that did not start earlier"));
    }
  }
  return absl::OkStatus();
}

std::optional<uint64_t> GroupTable::Continue(Group& group, const GroupJoin& join) {
  const auto found = group.places.find({join.stage, join.expert_rank});
  const uint64_t current = join.current.has_value() ? join.current->epoch : 0;
  if (!group.formed || found == group.places.end() ||
      !(found->second.join.Member() == join.Member()) || current != group.view.epoch) {
    return std::nullopt;
  }
  Record& record = found->second;
  events_.ended.push_back({record.ticket, absl::AbortedError("the rank joined again")});
  record.ticket = next_ticket_++;
  record.joined = clock_.Now();
  return record.ticket;
}

bool GroupTable::RemoveEarlierStarts(Group& group, const GroupJoin& join) {
  bool listed = false;
  for (auto it = group.places.begin(); it != group.places.end();) {
    const auto record = it++;
    if (record->second.join.worker_id != join.worker_id &&
        record->first != Place{join.stage, join.expert_rank}) {
      continue;
    }
    listed = listed || Listed(group, record->second);
    End(group, record, absl::AbortedError("a later start has taken the place"));
  }
  return listed;
}

void GroupTable::NoteReport(Group& group, const GroupJoin& join) {
  if (!join.current.has_value() || join.current->epoch == 0) return;
  last_epoch_ = std::max(last_epoch_, join.current->epoch);
  if (group.formed || !FitsShape(*join.current, group.first)) return;
  if (!group.reported.has_value()) group.settled = clock_.Now() + options_.settle;
  if (!group.reported.has_value() || group.reported->epoch < join.current->epoch) {
    group.reported = join.current;
  }
}

void GroupTable::Leave(uint64_t ticket) {
  for (auto& [name, group] : groups_) {
    for (auto it = group.places.begin(); it != group.places.end(); ++it) {
      if (it->second.ticket != ticket) continue;
      group.places.erase(it);
      Advance(std::string(name), clock_.Now());
      return;
    }
  }
}

void GroupTable::Touch(const std::string& worker_id, absl::Time heard) {
  for (auto& [name, group] : groups_) {
    for (auto& [place, record] : group.places) {
      // What was heard of an earlier start says nothing about this one.
      if (record.join.worker_id == worker_id && heard >= record.joined) {
        record.heard = std::max(record.heard, heard);
      }
    }
  }
}

void GroupTable::Expire(absl::Time now) {
  std::vector<std::string> names;
  for (const auto& [name, group] : groups_) names.push_back(name);
  for (const std::string& name : names) {
    Group& group = groups_.at(name);
    for (auto it = group.places.begin(); it != group.places.end();) {
      const auto record = it++;
      if (record->second.heard == absl::InfinitePast()) continue;
      if (now < record->second.heard + options_.lease) continue;
      End(group, record, absl::UnavailableError("no heartbeat within the lease"));
    }
    const bool anew = now >= group.suspected;
    Advance(name, now, anew);
  }
}

absl::Time GroupTable::NextExpiry() const {
  absl::Time next = absl::InfiniteFuture();
  for (const auto& [name, group] : groups_) {
    next = std::min(next, group.suspected);
    if (!group.formed) {
      const absl::Time timeout = group.first_join + options_.form_timeout;
      // Once it is over, only a join can help, which needs no timer.
      if (timeout > clock_.Now()) next = std::min(next, timeout);
      next = std::min(next, group.settled);
    }
    for (const auto& [place, record] : group.places) {
      if (record.heard != absl::InfinitePast()) {
        next = std::min(next, record.heard + options_.lease);
      }
    }
  }
  return next;
}

bool GroupTable::Suspect(const std::string& group, uint64_t epoch, const std::string& worker_id) {
  const auto found = groups_.find(group);
  if (found == groups_.end() || !found->second.formed || epoch == 0 ||
      found->second.view.epoch != epoch) {
    return false;
  }
  const auto& members = found->second.view.members;
  if (std::none_of(members.begin(), members.end(),
                   [&](const GroupMember& member) { return member.worker_id == worker_id; })) {
    return false;
  }
  found->second.suspected = std::min(found->second.suspected, clock_.Now() + options_.lease);
  return true;
}

absl::Status GroupTable::SetPlacement(const std::string& group,
                                      std::vector<LayerPlacement> placement) {
  const auto found = groups_.find(group);
  if (found == groups_.end() || !found->second.formed || found->second.view.epoch == 0) {
    return absl::FailedPreconditionError("group: does not stand");
  }
  GroupView view = found->second.view;
  TESSERA_RETURN_IF_ERROR(CheckLayers(placement, view.columns));
  if (view.placement == placement) return absl::OkStatus();
  view.placement = std::move(placement);
  Declare(found->second, std::move(view));
  return absl::OkStatus();
}

const GroupView* GroupTable::View(const std::string& group) const {
  const auto found = groups_.find(group);
  return found == groups_.end() || !found->second.formed ? nullptr : &found->second.view;
}

GroupEvents GroupTable::TakeEvents() { return std::exchange(events_, {}); }

GroupCounts GroupTable::Counts() const {
  GroupCounts counts;
  for (const auto& [name, group] : groups_) {
    const bool stands = group.formed && group.view.epoch != 0;
    ++(stands ? counts.standing : counts.waiting);
    const auto listed = stands ? static_cast<int64_t>(group.view.members.size()) : 0;
    counts.listed_members += listed;
    counts.waiting_members += static_cast<int64_t>(group.places.size()) - listed;
  }
  return counts;
}

bool GroupTable::Listed(const Group& group, const Record& record) const {
  return group.formed && HasMember(group.view, record.join.Member());
}

// All members of the newest reported view are back where they were.
bool GroupTable::CanAdopt(const Group& group) const {
  if (!group.reported.has_value()) return false;
  for (size_t number = 0; number < group.reported->members.size(); ++number) {
    const GroupMember& member = group.reported->members[number];
    const auto stage = static_cast<int32_t>(number) / group.reported->columns;
    if (std::none_of(group.places.begin(), group.places.end(), [&](const auto& entry) {
          return entry.first.first == stage && entry.second.join.Member() == member;
        })) {
      return false;
    }
  }
  return true;
}

bool GroupTable::MayForm(const Group& group, absl::Time now) const {
  const size_t all = static_cast<size_t>(group.first.stages) * group.first.expert_ranks;
  if (group.places.size() == all || now >= group.settled) return true;
  if (group.reported.has_value() || now < group.first_join + options_.form_timeout) return false;
  std::set<int32_t> stages;
  for (const auto& [place, record] : group.places) stages.insert(place.first);
  return static_cast<int32_t>(stages.size()) == group.first.stages;
}

// Brings the view up to date with who is there. anew: the epoch changes even if nobody did.
void GroupTable::Advance(const std::string& name, absl::Time now, bool anew) {
  Group& group = groups_.at(name);
  if (group.places.empty()) {
    groups_.erase(name);
    return;
  }
  if (!group.formed) {
    if (CanAdopt(group)) {
      group.view = *std::move(group.reported);
      events_.changed.insert(name);
    } else if (MayForm(group, now)) {
      // The pairs of the old view stay together, its epoch is over.
      group.view = group.reported.value_or(GroupView{});
      anew = true;
    } else {
      return;
    }
    group.formed = true;
    group.reported.reset();
    group.settled = absl::InfiniteFuture();
  }
  Arrange(group, anew);
}

void GroupTable::Arrange(Group& group, bool anew) {
  std::vector<std::vector<GroupMember>> live(group.first.stages);
  for (const auto& [place, record] : group.places) {
    live[place.first].push_back(record.join.Member());
  }
  Columns arranged = ArrangeColumns(group.view, live);
  if (!anew && arranged.members == group.view.members) return;
  GroupView view;
  view.group = group.first.group;
  view.stages = group.first.stages;
  view.columns = arranged.columns;
  view.members = std::move(arranged.members);
  // Holders are columns: with another number of them the old placement means nothing.
  if (view.columns == group.view.columns) view.placement = group.view.placement;
  Declare(group, std::move(view));
}

void GroupTable::Declare(Group& group, GroupView view) {
  view.epoch = view.columns == 0 ? 0 : ++last_epoch_;
  group.suspected = absl::InfiniteFuture();
  group.view = std::move(view);
  events_.changed.insert(group.view.group);
  ++declared_epochs_;
}

void GroupTable::End(Group& group, std::map<Place, Record>::iterator record, absl::Status reason) {
  events_.ended.push_back({record->second.ticket, std::move(reason)});
  group.places.erase(record);
}

}  // namespace tessera::router
