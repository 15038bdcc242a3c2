// How ranks that are to form a communicator find each other: an all-gather of small byte strings
// among the members of one epoch. In a cluster the router carries it; in tests a map.
#ifndef TESSERA_WORKER_TRANSPORT_RENDEZVOUS_H_
#define TESSERA_WORKER_TRANSPORT_RENDEZVOUS_H_

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace tessera::transport {

// Gives `mine` to all members and returns everybody's, by rank. `round` tells exchanges of the same
// members apart: all ranks use the same names in the same order. DEADLINE_EXCEEDED: a member did
// not come; ABORTED: the epoch is over.
using Rendezvous = std::function<absl::StatusOr<std::vector<std::string>>(
    std::string_view round, std::string_view mine, absl::Time deadline)>;

}  // namespace tessera::transport

#endif  // TESSERA_WORKER_TRANSPORT_RENDEZVOUS_H_
