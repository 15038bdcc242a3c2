// How the ranks of a group exchange data: collectives over a fixed set of ranks, each call with a
// deadline and a Status.
//
// All ranks make the same calls in the same order, with sizes that agree; Send and Recv only at
// their two ends. A call that fails leaves the communicator broken: every later call fails at once,
// and the only way on is a new communicator under a new epoch. A rank's failure reaches the others:
// each of their calls fails by its deadline at the latest.
//
// Failures:
//   UNAVAILABLE        a peer has died or closed its end (names the rank)
//   DEADLINE_EXCEEDED  a peer is late (names what was waited for)
//   CANCELLED          Abort was called
//   INTERNAL           the library or the system refused, or ranks disagree about a size
//   INVALID_ARGUMENT   sizes that do not fit their bytes, or a peer or root that is none
#ifndef TESSERA_WORKER_TRANSPORT_COMMUNICATOR_H_
#define TESSERA_WORKER_TRANSPORT_COMMUNICATOR_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace tessera::transport {

// What goes to, or comes from, each rank: the parts follow each other in `bytes`, rank by rank.
// sizes: [size()], bytes each; a size may be 0. Sum of sizes == bytes.size().
struct SendParts {
  absl::Span<const std::byte> bytes;
  absl::Span<const int64_t> sizes;
};
struct RecvParts {
  absl::Span<std::byte> bytes;
  absl::Span<const int64_t> sizes;
};

// An exchange under way. Its buffers must stay until Wait has returned or this is destroyed, which
// breaks the communicator if Wait was not called.
class PendingExchange {
 public:
  virtual ~PendingExchange() = default;
  virtual absl::Status Wait(absl::Time deadline) = 0;  // once
};

// One thread calls at a time; Abort may come from any thread.
class Communicator {
 public:
  virtual ~Communicator() = default;  // aborts

  virtual int rank() const = 0;
  virtual int size() const = 0;

  // send.sizes[r] on this rank equals receive.sizes[this rank] on rank r. Also to itself.
  absl::Status AllToAllV(const SendParts& send, const RecvParts& receive, absl::Time deadline);
  // Returns once the exchange is on its way, so that work can be done meanwhile. At most one is
  // pending, and no other call is made before its Wait.
  virtual std::unique_ptr<PendingExchange> StartAllToAllV(const SendParts& send,
                                                          const RecvParts& receive) = 0;

  // peer != rank(). Between two ranks messages arrive in the order sent; both ends name the same
  // size. Send may return before the message has arrived.
  virtual absl::Status Send(int peer, absl::Span<const std::byte> bytes, absl::Time deadline) = 0;
  virtual absl::Status Recv(int peer, absl::Span<std::byte> bytes, absl::Time deadline) = 0;

  // root's bytes to all.
  virtual absl::Status Broadcast(int root, absl::Span<std::byte> bytes, absl::Time deadline) = 0;
  // receive: [size() * send.size()], in the order of ranks.
  virtual absl::Status AllGather(absl::Span<const std::byte> send, absl::Span<std::byte> receive,
                                 absl::Time deadline) = 0;
  virtual absl::Status Barrier(absl::Time deadline) = 0;

  // Ends pending and later calls, here with CANCELLED; peers see UNAVAILABLE where the back end can
  // tell them, else their deadline. Thread safe; may be repeated.
  virtual void Abort() = 0;
};

}  // namespace tessera::transport

#endif  // TESSERA_WORKER_TRANSPORT_COMMUNICATOR_H_
