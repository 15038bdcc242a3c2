// One rank's part in its group: follows the router's views and, on the thread that steps, enters
// each epoch that lists this rank.
//
// On every new view each rank gives up the communicators of its epoch at once, so no rank can be
// left alone in a step; a step that was under way fails and is repeated in the next epoch.
#ifndef TESSERA_WORKER_SERVICE_GROUP_SESSION_H_
#define TESSERA_WORKER_SERVICE_GROUP_SESSION_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tessera/v1/group.pb.h"
#include "worker/engine/step_group.h"
#include "worker/group/group_model.h"
#include "worker/service/group_membership.h"
#include "worker/service/group_views.h"
#include "worker/transport/transport.h"

namespace tessera::worker {

struct GroupSessionOptions {
  std::string router_address;
  v1::JoinGroupRequest self;  // all fields but `current`
  // Of this rank's stage.
  int64_t first_layer = 0;
  std::vector<int64_t> experts_of_layer;
  std::string bind_host;  // as transport::ConnectOptions
  // From a view to standing in its epoch, without the loading of experts.
  absl::Duration connect_timeout = absl::Seconds(5);
  // Tests connect threads of one process.
  std::function<absl::StatusOr<std::unique_ptr<transport::Communicator>>(
      std::string_view back_end, const transport::ConnectOptions& options)>
      connect = transport::Connect;
};

struct GroupSessionHooks {
  // The epoch that this rank stands in has changed; on the thread that steps or the membership's.
  std::function<void()> on_standing;
  // There is news for the thread that steps, which may be asleep; on the membership's thread.
  std::function<void()> wake;
};

// Thread safe, except Reform.
class GroupSession {
 public:
  // rank outlives the session. Nothing happens before Join.
  GroupSession(group::GroupRank& rank, GroupSessionOptions options, GroupSessionHooks hooks);
  ~GroupSession();  // as Leave
  GroupSession(const GroupSession&) = delete;
  GroupSession& operator=(const GroupSession&) = delete;

  void Join();  // once
  // Gives up the epoch and the seat; Reform returns kNotMember from now on. Hooks are not called
  // after it.
  void Leave();

  bool leaving() const;  // Leave was called
  // 0: this rank stands in no epoch.
  uint64_t standing_epoch() const;
  uint64_t epochs_entered() const;  // since the start
  // The view of the epoch that this rank stands in, and its place there; false: in none.
  bool Standing(v1::GroupView* view, group::GroupPlace* place) const;
  // Of this rank's stage in that epoch; column: this rank's.
  bool StandingPlacement(group::ExpertPlacement* placement, int32_t* column,
                         int64_t* columns) const;
  // A view that lists members waits to be acted upon.
  bool HasNews() const;
  // Waits until there is a view that was not acted upon, or Leave; false: neither in that time.
  bool WaitForNews(absl::Duration timeout) const;
  // The newest view lists the same lead for this rank's column as the last epoch that was entered.
  bool LeadIsThere() const;

  // On the thread that steps, between steps: gives up the epoch if it still stands, waits for the
  // next view and enters its epoch, again and again if that fails. The router is told of a broken
  // epoch, more than once if it stays silent.
  engine::Reformed Reform(absl::Time deadline);

 private:
  void OnView(const v1::GroupView& view);
  void SetStanding(uint64_t epoch);
  // Waits for an unseen view with an epoch and marks it as seen.
  enum class Next { kView, kLeaving, kTimeUp };
  Next NextView(absl::Time deadline, v1::GroupView* view);
  uint64_t EpochToReport();  // 0: none; caller holds mutex_
  absl::Status Enter(const v1::GroupView& view, const group::GroupPlace& place);
  absl::StatusOr<std::unique_ptr<transport::Communicator>> Connect(
      const transport::ConnectOptions& options);
  engine::Reformed Compare(const v1::GroupView& view, const group::GroupPlace& place);

  group::GroupRank& rank_;
  const GroupSessionOptions options_;
  const GroupSessionHooks hooks_;
  const MemberId self_;

  mutable std::mutex mutex_;  // guards the next ones
  mutable std::condition_variable changed_;
  bool leaving_ = false;
  v1::GroupView latest_;
  uint64_t latest_serial_ = 0;  // 0: no view yet
  uint64_t seen_serial_ = 0;    // of the last view that was acted upon
  uint64_t standing_ = 0;
  uint64_t member_of_ = 0;  // the last seen epoch that lists this rank
  uint64_t reported_ = 0;   // the epoch that was reported last as broken, and when
  absl::Time reported_at_;
  uint64_t epochs_entered_ = 0;
  v1::GroupView entered_;  // the last epoch that was entered, and the place there
  group::GroupPlace place_;
  transport::Communicator* forming_ = nullptr;  // the one that the ranks of a stage meet over

  std::unique_ptr<GroupMembership> membership_;
};

}  // namespace tessera::worker

#endif  // TESSERA_WORKER_SERVICE_GROUP_SESSION_H_
