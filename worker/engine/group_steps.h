// Binds the steps of a loop to those of a group: one Forward here for one Forward of each peer.
#ifndef TESSERA_WORKER_ENGINE_GROUP_STEPS_H_
#define TESSERA_WORKER_ENGINE_GROUP_STEPS_H_

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/base/clock.h"
#include "worker/engine/engine.h"
#include "worker/engine/step_group.h"
#include "worker/engine/step_loop.h"

namespace tessera::engine {

// Of the engine's thread.
class GroupSteps {
 public:
  // All outlive it. timeout: requests fail if the group does not stand for so long.
  GroupSteps(StepLoop& loop, StepGroup& group, absl::Duration timeout, const Clock& clock)
      : loop_(loop), group_(group), timeout_(timeout), clock_(clock) {}

  // One step with the peers if there is a reason for one: rows here, peers that step (woken: by
  // call; or the last step had rows somewhere), or a group that has just re-formed. While the group
  // is broken, waits for it instead, for a moment. False: nothing was done for a request here.
  bool Advance(bool woken);

  // Whether Advance is due without a new reason.
  bool is_due() const { return state_ != State::kStanding || peers_step_; }
  // Whether peers are known to step: a call that says so tells nothing new.
  bool peers_step() const { return peers_step_; }
  // Whether the group stands without this rank. Advance then need not be called at once.
  bool is_outside() const { return state_ == State::kOutside; }

 private:
  enum class State {
    kStanding,
    kBroken,   // after a failed step
    kOutside,  // the group stands without this rank
  };

  bool AwaitGroup();
  void Accept(Reformed reformed);
  void Break();

  StepLoop& loop_;
  StepGroup& group_;
  const absl::Duration timeout_;
  const Clock& clock_;
  State state_ = State::kStanding;
  bool peers_step_ = false;
  absl::Time broken_since_;
};

}  // namespace tessera::engine

#endif  // TESSERA_WORKER_ENGINE_GROUP_STEPS_H_
