// What leads and followers have in common: the epoch that a rank is in, with its communicators, and
// the experts that the placement gives it.
#ifndef TESSERA_WORKER_GROUP_RANK_EPOCH_H_
#define TESSERA_WORKER_GROUP_RANK_EPOCH_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "worker/group/all_to_all_dispatch.h"
#include "worker/group/group_model.h"
#include "worker/model/model_shard.h"
#include "worker/transport/communicator.h"

namespace tessera::group {

// Of the thread that steps, apart from Abort.
class RankEpoch {
 public:
  // shard: outlives this, which sets its expert dispatch.
  RankEpoch(model::ModelShard& shard, absl::Duration step_timeout);
  ~RankEpoch();
  RankEpoch(const RankEpoch&) = delete;
  RankEpoch& operator=(const RankEpoch&) = delete;

  // As GroupRank. INVALID_ARGUMENT: shape, place, communicators or placement do not fit each other
  // or the shard. After a failure no epoch stands, and its communicators are gone.
  absl::Status Enter(GroupEpoch epoch);
  void Abort();  // any thread
  ExpertCounts TakeExpertCounts();

  // An epoch was entered, and neither Abort nor a failure has ended it.
  bool stands() const { return stands_.load(std::memory_order_acquire); }
  // Of the epoch that stands. all: null with one rank; stage: null with one column.
  uint64_t number() const { return epoch_.number; }
  const GroupShape& shape() const { return epoch_.shape; }
  const GroupPlace& place() const { return epoch_.place; }
  transport::Communicator* all() const { return epoch_.all.get(); }
  transport::Communicator* stage() const { return epoch_.stage.get(); }
  // Number in `all` of the rank of a stage in this rank's column.
  int RankOfStage(int64_t stage) const;
  absl::Time Deadline() const;  // of what is asked of a peer now

 private:
  absl::Status Check(const GroupEpoch& epoch) const;
  absl::Status MoveExperts(const GroupEpoch& epoch);
  // The communicators of the last epoch go, and with them whatever peers wait for.
  void End();

  model::ModelShard& shard_;
  const absl::Duration step_timeout_;
  std::vector<int64_t> experts_of_layer_;
  ExpertCounts counts_;
  std::atomic<bool> stands_{false};
  std::mutex mutex_;  // the communicators, against Abort
  GroupEpoch epoch_;
  std::unique_ptr<AllToAllDispatch> dispatch_;  // null with one column
};

}  // namespace tessera::group

#endif  // TESSERA_WORKER_GROUP_RANK_EPOCH_H_
