// The loop of a rank of a later stage: epoch after epoch, step after step.
#ifndef TESSERA_WORKER_SERVICE_FOLLOWER_LOOP_H_
#define TESSERA_WORKER_SERVICE_FOLLOWER_LOOP_H_

#include <thread>

#include "worker/group/group_model.h"
#include "worker/service/group_session.h"

namespace tessera::worker {

// Runs a thread of its own. Both outlive it; the session is joined already or soon.
class FollowerLoop {
 public:
  FollowerLoop(group::GroupFollower& follower, GroupSession& session);
  // After GroupSession::Leave, which ends the thread.
  ~FollowerLoop();
  FollowerLoop(const FollowerLoop&) = delete;
  FollowerLoop& operator=(const FollowerLoop&) = delete;

 private:
  void Run();

  group::GroupFollower& follower_;
  GroupSession& session_;
  std::thread thread_;
};

}  // namespace tessera::worker

#endif  // TESSERA_WORKER_SERVICE_FOLLOWER_LOOP_H_
