// Forms groups: who is in, in which epoch. A pure state machine: time comes from a clock, and what
// its owner has to tell the ranks comes out of TakeEvents. Not thread safe.
#ifndef TESSERA_ROUTER_GROUP_GROUP_TABLE_H_
#define TESSERA_ROUTER_GROUP_GROUP_TABLE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "router/group/group_view.h"
#include "services/base/clock.h"

namespace tessera::router {

struct GroupTableOptions {
  // After the first join a new group stands without its missing ranks, if each stage has one.
  absl::Duration form_timeout = absl::Seconds(30);
  // After a restart of the router ranks have so long to come back before a view is declared without
  // the missing ones.
  absl::Duration settle = absl::Seconds(2);
  // A member whose heartbeats stop for so long is gone.
  absl::Duration lease = absl::Seconds(5);
};

// What happened since the last TakeEvents.
struct GroupEvents {
  struct End {
    uint64_t ticket = 0;
    absl::Status reason;
  };
  std::set<std::string> changed;  // groups with a new view
  std::vector<End> ended;         // members that are out though they did not leave
};

struct GroupCounts {
  int64_t standing = 0;  // groups that have an epoch
  int64_t waiting = 0;   // groups that form, or cannot stand
  int64_t listed_members = 0;
  int64_t waiting_members = 0;
};

class GroupTable {
 public:
  GroupTable(const GroupTableOptions& options, const Clock& clock);  // clock outlives the table

  // Takes the rank in and returns its ticket. A later start takes the place of an earlier one; the
  // same start again goes on as the same member if it says that it is in the current view.
  // INVALID_ARGUMENT names the field, also one in which the members of the group differ;
  // ALREADY_EXISTS: the place or the id belongs to a rank that did not start earlier;
  // RESOURCE_EXHAUSTED: too many groups.
  absl::StatusOr<uint64_t> Join(const GroupJoin& join);

  // The rank is gone. Tickets that have ended are ignored.
  void Leave(uint64_t ticket);

  // The worker was heard at that time. The lease of a member runs from its first heartbeat on;
  // until then only its ticket says that it lives. Unknown ids are ignored.
  void Touch(const std::string& worker_id, absl::Time heard);

  // Ends what its time has come for: leases, and waits for missing ranks.
  void Expire(absl::Time now);
  // When Expire has something to do next; InfiniteFuture: nothing.
  absl::Time NextExpiry() const;

  // A member says that another one of its epoch does not answer. If nobody turns out to be gone
  // within the lease, the same members get a new epoch, in which they meet anew. False: it is no
  // member, or the epoch is not the current one.
  bool Suspect(const std::string& group, uint64_t epoch, const std::string& worker_id);

  // Declares an epoch with the same members and other holders of experts; layers ascending.
  // FAILED_PRECONDITION: the group does not stand; INVALID_ARGUMENT: not ascending, a column out of
  // range, an expert without a holder.
  absl::Status SetPlacement(const std::string& group, std::vector<LayerPlacement> placement);

  // Null: unknown, or it has not stood yet. Valid until the next call that is not const.
  const GroupView* View(const std::string& group) const;
  GroupEvents TakeEvents();
  GroupCounts Counts() const;
  uint64_t declared_epochs() const { return declared_epochs_; }

 private:
  struct Record {
    GroupJoin join;
    uint64_t ticket = 0;
    absl::Time joined;
    absl::Time heard = absl::InfinitePast();  // no lease yet
  };
  using Place = std::pair<int32_t, int32_t>;  // stage, expert rank
  struct Group {
    GroupJoin first;  // what all have to agree with
    absl::Time first_join;
    std::map<Place, Record> places;
    bool formed = false;
    GroupView view;                                 // of a formed group
    std::optional<GroupView> reported;              // the newest that a joiner is in, until formed
    absl::Time settled = absl::InfiniteFuture();    // when the others of `reported` are given up
    absl::Time suspected = absl::InfiniteFuture();  // when members of the epoch must meet anew
  };

  absl::Status CheckPlaceIsFree(const Group& group, const GroupJoin& join) const;
  // The member goes on under a new ticket; nullopt: it is not one, or it lost its view.
  std::optional<uint64_t> Continue(Group& group, const GroupJoin& join);
  bool RemoveEarlierStarts(Group& group, const GroupJoin& join);  // true: a listed one among them
  void NoteReport(Group& group, const GroupJoin& join);
  bool Listed(const Group& group, const Record& record) const;
  bool CanAdopt(const Group& group) const;
  bool MayForm(const Group& group, absl::Time now) const;
  void Advance(const std::string& name, absl::Time now, bool anew = false);
  void Arrange(Group& group, bool anew);
  void Declare(Group& group, GroupView view);
  void End(Group& group, std::map<Place, Record>::iterator record, absl::Status reason);

  const GroupTableOptions options_;
  const Clock& clock_;
  uint64_t last_epoch_;  // of all groups: grows even when a group is forgotten and comes back
  uint64_t next_ticket_ = 1;
  uint64_t declared_epochs_ = 0;
  std::map<std::string, Group> groups_;
  GroupEvents events_;
};

}  // namespace tessera::router

#endif  // TESSERA_ROUTER_GROUP_GROUP_TABLE_H_
