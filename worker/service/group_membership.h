// A rank's seat in its group, as the router keeps it.
#ifndef TESSERA_WORKER_SERVICE_GROUP_MEMBERSHIP_H_
#define TESSERA_WORKER_SERVICE_GROUP_MEMBERSHIP_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "tessera/v1/group.pb.h"
#include "worker/transport/rendezvous.h"

namespace tessera::worker {

// Keeps GroupService.JoinGroup open on a thread of its own, for as long as it lives: a stream that
// ends is opened again after a growing, jittered pause, with the newest view that is known, so that
// a restarted router goes on from it.
class GroupMembership {
 public:
  // Called on the membership's thread with each view that the router sends, also with one that was
  // sent before.
  using Listener = std::function<void(const v1::GroupView& view)>;

  // self: all fields but `current`.
  GroupMembership(const std::string& router_address, v1::JoinGroupRequest self, Listener listener);
  ~GroupMembership();  // as Leave
  GroupMembership(const GroupMembership&) = delete;
  GroupMembership& operator=(const GroupMembership&) = delete;

  // An all-gather among the members of an epoch; rank: this one's number. A value: it may outlive
  // the membership. Thread safe. Besides what Rendezvous says: UNAVAILABLE: no router.
  transport::Rendezvous RendezvousOf(uint64_t epoch, int rank) const;

  // One try, of at most a second. Thread safe.
  void ReportSuspect(uint64_t epoch);

  // Ends the stream, which is how the router learns of it, and the thread. Not from the listener.
  void Leave();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tessera::worker

#endif  // TESSERA_WORKER_SERVICE_GROUP_MEMBERSHIP_H_
