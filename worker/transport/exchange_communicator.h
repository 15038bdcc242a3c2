// All collectives as one primitive: parts that go out and parts that come in, between this rank and
// its peers. A back end implements the primitive alone.
#ifndef TESSERA_WORKER_TRANSPORT_EXCHANGE_COMMUNICATOR_H_
#define TESSERA_WORKER_TRANSPORT_EXCHANGE_COMMUNICATOR_H_

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "worker/transport/communicator.h"

namespace tessera::transport {

// Bytes between this rank and one peer: never empty, the peer never this rank, at most one of each
// kind per peer in an exchange.
struct Outgoing {
  int peer;
  absl::Span<const std::byte> bytes;
};
struct Incoming {
  int peer;
  absl::Span<std::byte> bytes;
};

// Texts of failures that all back ends share.
absl::Status PeerGone(int peer);
absl::Status PeerLate(int peer);
absl::Status Aborted();
absl::Status SizesDisagree(int peer, size_t sent, size_t expected);

class ExchangeCommunicator : public Communicator {
 public:
  int rank() const final { return rank_; }
  int size() const final { return size_; }

  std::unique_ptr<PendingExchange> StartAllToAllV(const SendParts& send,
                                                  const RecvParts& receive) final;
  absl::Status Send(int peer, absl::Span<const std::byte> bytes, absl::Time deadline) final;
  absl::Status Recv(int peer, absl::Span<std::byte> bytes, absl::Time deadline) final;
  absl::Status Broadcast(int root, absl::Span<std::byte> bytes, absl::Time deadline) final;
  absl::Status AllGather(absl::Span<const std::byte> send, absl::Span<std::byte> receive,
                         absl::Time deadline) final;
  absl::Status Barrier(absl::Time deadline) final;
  void Abort() final;

 protected:
  ExchangeCommunicator(int rank, int size);

  // Puts an exchange on its way, or fails; does not wait. `out` and `in` stay until Finish has
  // returned.
  virtual absl::Status Begin(absl::Span<const Outgoing> out, absl::Span<const Incoming> in) = 0;
  // Waits for the end of what Begin started.
  virtual absl::Status Finish(absl::Time deadline) = 0;
  // Makes a running Finish return, tells the peers, and makes Begin and Finish fail from now on.
  // Any thread, may be repeated.
  virtual void Close() = 0;
  // After Close, by the thread that calls Begin: from its return on nothing touches the bytes of an
  // unfinished exchange.
  virtual void Release() = 0;

 private:
  class Pending;

  absl::Status Start();  // out_ and in_
  absl::Status Complete(absl::Time deadline);
  absl::Status Run(absl::Time deadline);   // both
  absl::Status Health();                   // why this is broken, or OK
  absl::Status Fail(absl::Status reason);  // breaks; returns the first reason
  absl::Status CheckParts(const SendParts& send, const RecvParts& receive) const;
  absl::Status CheckPeer(int peer) const;
  void AddParts(const SendParts& send, const RecvParts& receive);

  const int rank_;
  const int size_;
  // Of the exchange under way. Members, so that a call allocates nothing.
  std::vector<Outgoing> out_;
  std::vector<Incoming> in_;
  std::vector<std::byte> barrier_bytes_;  // [size]
  bool pending_ = false;

  std::mutex mutex_;
  absl::Status broken_;  // guarded by mutex_
};

}  // namespace tessera::transport

#endif  // TESSERA_WORKER_TRANSPORT_EXCHANGE_COMMUNICATOR_H_
