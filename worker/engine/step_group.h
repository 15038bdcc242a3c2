// How the steps of this engine are bound to those of other ranks. Ranks of a group step together:
// a Forward of one is a Forward of all, with rows or without.
#ifndef TESSERA_WORKER_ENGINE_STEP_GROUP_H_
#define TESSERA_WORKER_ENGINE_STEP_GROUP_H_

#include "absl/time/time.h"

namespace tessera::engine {

// Type URL of the payload on a Forward error that says: the group broke, nothing is wrong with the
// request or the model. The step may be repeated once the group stands again.
inline constexpr char kGroupBrokenPayload[] = "tessera.engine/group_broken";

// What became of the group after a break.
enum class Reformed {
  kSameKv,     // it stands again, and K and V of every block of this rank are as they were
  kLostKv,     // it stands again, but K and V are lost: a stage of this rank was replaced
  kNotMember,  // it stands again without this rank
  kNotYet,     // it does not stand at the deadline
};

// Called on the engine's thread alone.
class StepGroup {
 public:
  virtual ~StepGroup() = default;

  // This rank has work and the last step had none anywhere, so peers may be asleep: each of them
  // gets a call of Engine::WakeForPeers. Does not wait for that.
  virtual void WakePeers() = 0;

  // Whether any rank had rows in the last Forward.
  virtual bool AnyRankHadRows() const = 0;

  // After a Forward that failed with kGroupBrokenPayload: waits until the group has re-formed.
  virtual Reformed AwaitReform(absl::Time deadline) = 0;

  // A change of members is due (a rank wants to join, experts are to move): called between steps;
  // does it and returns what it meant for this rank. kSameKv if nothing was due.
  virtual Reformed BetweenSteps() = 0;
};

}  // namespace tessera::engine

#endif  // TESSERA_WORKER_ENGINE_STEP_GROUP_H_
