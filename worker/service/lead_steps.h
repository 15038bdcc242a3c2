// The step group of a rank that leads a column.
#ifndef TESSERA_WORKER_SERVICE_LEAD_STEPS_H_
#define TESSERA_WORKER_SERVICE_LEAD_STEPS_H_

#include <atomic>
#include <cstdint>

#include "absl/time/time.h"
#include "worker/engine/step_group.h"
#include "worker/group/group_model.h"
#include "worker/service/group_session.h"
#include "worker/service/peer_calls.h"

namespace tessera::worker {

// All outlive it. The session is given after the engine that steps has been made.
class LeadSteps final : public engine::StepGroup {
 public:
  LeadSteps(group::GroupModel& model, PeerCalls& peers) : model_(model), peers_(peers) {}
  void SetSession(GroupSession* session) { session_ = session; }  // before the engine starts

  void WakePeers() override;
  bool AnyRankHadRows() const override { return model_.AnyRankHadRows(); }
  engine::Reformed AwaitReform(absl::Time deadline) override;
  engine::Reformed BetweenSteps() override;

  // Whether a peer's call for a step of an epoch is news: a call may be late, and a rank that steps
  // alone waits for peers that have no reason to come. Thread safe.
  bool IsWakeDue(uint64_t epoch, uint64_t step) const;

  // How often a step has failed because the group broke, since the start. Thread safe.
  uint64_t broken_steps() const { return broken_steps_; }
  // ExpertImbalance of the last full interval of counting, of the requests of this rank; 0: not
  // known. Thread safe.
  double expert_imbalance() const { return expert_imbalance_; }

 private:
  void CountExperts();

  group::GroupModel& model_;
  PeerCalls& peers_;
  std::atomic<GroupSession*> session_{nullptr};
  bool broken_ = false;  // the group is being waited for
  absl::Time counting_since_ = absl::InfinitePast();
  std::atomic<double> expert_imbalance_{0};
  std::atomic<uint64_t> broken_steps_{0};
};

}  // namespace tessera::worker

#endif  // TESSERA_WORKER_SERVICE_LEAD_STEPS_H_
