#include "worker/service/follower_loop.h"

#include "absl/time/clock.h"
#include "services/base/log.h"

namespace tessera::worker {
namespace {

// No more than a bound: the session wakes the loop for a view and for the end.
constexpr absl::Duration kPatience = absl::Seconds(5);

}  // namespace

FollowerLoop::FollowerLoop(group::GroupFollower& follower, GroupSession& session)
    : follower_(follower), session_(session), thread_([this] { Run(); }) {}

FollowerLoop::~FollowerLoop() { thread_.join(); }

void FollowerLoop::Run() {
  while (!session_.leaving()) {
    const engine::Reformed reformed = session_.Reform(absl::Now() + kPatience);
    if (reformed == engine::Reformed::kNotMember) {
      session_.WaitForNews(kPatience);
      continue;
    }
    if (reformed == engine::Reformed::kNotYet) continue;
    const absl::Status status = follower_.Run();
    TESSERA_LOG(kInfo) << "the epoch has ended: " << status.ToString();
  }
}

}  // namespace tessera::worker
