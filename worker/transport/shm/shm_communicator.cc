#include "worker/transport/shm/shm_communicator.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/base/status_macros.h"
#include "worker/transport/exchange_communicator.h"
#include "worker/transport/shm/segment.h"

namespace tessera::transport {
namespace {

// How long a sleep lasts before the peers' lives are looked at.
constexpr absl::Duration kLifeCheck = absl::Milliseconds(20);
// Looks before a sleep, some ten microseconds: what an answer of a running peer takes. Longer would
// take the core from a peer, since there are as many ranks as cores.
constexpr int kLooksBeforeSleep = 200;

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

struct Peer {
  Segment segment;
  OwnedFd life;  // a pidfd, readable once the process has ended; none for a thread of this process
  RingWriter to;
  RingReader from;
};

// A part and how much of it has moved. Each message begins with its size, so that ranks that
// disagree notice.
using MessageSize = uint64_t;
struct Sending {
  int peer;
  MessageSize size;
  size_t size_moved = 0;  // of the bytes of `size`
  absl::Span<const std::byte> left;
};
struct Receiving {
  int peer;
  MessageSize size;
  size_t size_moved = 0;
  absl::Span<std::byte> left;
};
template <typename Part>
bool Done(const Part& part) {
  return part.size_moved == sizeof(MessageSize) && part.left.empty();
}

class ShmCommunicator final : public ExchangeCommunicator {
 public:
  // peers: by rank; that of this rank is not looked at.
  ShmCommunicator(int rank, Segment own, std::vector<Peer> peers)
      : ExchangeCommunicator(rank, static_cast<int>(peers.size())),
        own_(std::move(own)),
        peers_(std::move(peers)) {}
  ~ShmCommunicator() override { Close(); }

 protected:
  absl::Status Begin(absl::Span<const Outgoing> out, absl::Span<const Incoming> in) override;
  absl::Status Finish(absl::Time deadline) override;
  void Close() override;
  void Release() override {
    sending_.clear();
    receiving_.clear();
  }

 private:
  // Moves a piece of each part; says whether any moved. Drops parts that are done.
  absl::StatusOr<bool> Pump();
  absl::StatusOr<bool> PumpOut(Sending& part);
  absl::StatusOr<bool> PumpIn(Receiving& part);
  absl::Status PumpAll();  // until nothing moves
  bool AllDone() const { return sending_.empty() && receiving_.empty(); }
  bool WaitsFor(int peer) const;
  int FirstLatePeer() const;
  // UNAVAILABLE if a peer that is waited for is gone. What it had sent before is received first.
  template <typename IsGone>
  absl::Status CheckPeers(IsGone is_gone);
  bool Closed(int rank) const {
    return peers_[rank].segment.header().closed.load(std::memory_order_acquire) != 0;
  }
  bool Died(int rank) const;

  const Segment own_;
  std::vector<Peer> peers_;
  std::vector<Sending> sending_;
  std::vector<Receiving> receiving_;
};

absl::Status ShmCommunicator::Begin(absl::Span<const Outgoing> out, absl::Span<const Incoming> in) {
  for (const Outgoing& part : out) {
    if (Closed(part.peer)) return PeerGone(part.peer);
    sending_.push_back({part.peer, part.bytes.size(), 0, part.bytes});
  }
  for (const Incoming& part : in) {
    receiving_.push_back({part.peer, part.bytes.size(), 0, part.bytes});
  }
  return PumpAll();
}

absl::Status ShmCommunicator::Finish(absl::Time deadline) {
  SegmentHeader& own = own_.header();
  int looks = 0;
  while (true) {
    const uint32_t rings = Rings(own.bell);
    TESSERA_ASSIGN_OR_RETURN(const bool moved, Pump());
    if (AllDone()) return absl::OkStatus();
    if (own.closed.load(std::memory_order_acquire) != 0) return Aborted();
    if (moved) {
      looks = 0;
      continue;
    }
    TESSERA_RETURN_IF_ERROR(CheckPeers([this](int peer) { return Closed(peer); }));
    if (AllDone()) return absl::OkStatus();
    while (looks < kLooksBeforeSleep && Rings(own.bell) == rings) {
      ++looks;
      Pause();
    }
    if (Rings(own.bell) != rings) continue;
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) return PeerLate(FirstLatePeer());
    if (!SleepUntilRung(own.bell, rings, std::min(left, kLifeCheck))) {
      TESSERA_RETURN_IF_ERROR(CheckPeers([this](int peer) { return Died(peer); }));
    }
  }
}

absl::StatusOr<bool> ShmCommunicator::Pump() {
  bool moved = false;
  for (Sending& part : sending_) {
    TESSERA_ASSIGN_OR_RETURN(const bool part_moved, PumpOut(part));
    moved |= part_moved;
  }
  for (Receiving& part : receiving_) {
    TESSERA_ASSIGN_OR_RETURN(const bool part_moved, PumpIn(part));
    moved |= part_moved;
  }
  std::erase_if(sending_, Done<Sending>);
  std::erase_if(receiving_, Done<Receiving>);
  return moved;
}

absl::StatusOr<bool> ShmCommunicator::PumpOut(Sending& part) {
  Peer& peer = peers_[part.peer];
  size_t moved = 0;
  if (part.size_moved < sizeof(MessageSize)) {
    const auto size =
        absl::MakeConstSpan(reinterpret_cast<const std::byte*>(&part.size), sizeof(MessageSize));
    const auto written = peer.to.Write(size.subspan(part.size_moved));
    if (!written) return absl::InternalError("the shared memory was overwritten");
    part.size_moved += *written;
    moved += *written;
  }
  if (part.size_moved == sizeof(MessageSize)) {
    const auto written = peer.to.Write(part.left);
    if (!written) return absl::InternalError("the shared memory was overwritten");
    part.left.remove_prefix(*written);
    moved += *written;
  }
  if (moved > 0) Ring(peer.segment.header().bell);
  return moved > 0;
}

absl::StatusOr<bool> ShmCommunicator::PumpIn(Receiving& part) {
  Peer& peer = peers_[part.peer];
  size_t moved = 0;
  if (part.size_moved < sizeof(MessageSize)) {
    MessageSize sent = part.size;
    const auto size = absl::MakeSpan(reinterpret_cast<std::byte*>(&sent), sizeof(MessageSize));
    const auto read = peer.from.Read(size.subspan(part.size_moved));
    if (!read) return absl::InternalError("the shared memory was overwritten");
    part.size_moved += *read;
    moved += *read;
    if (sent != part.size) return SizesDisagree(part.peer, sent, part.size);
  }
  if (part.size_moved == sizeof(MessageSize)) {
    const auto read = peer.from.Read(part.left);
    if (!read) return absl::InternalError("the shared memory was overwritten");
    part.left.remove_prefix(*read);
    moved += *read;
  }
  if (moved > 0) Ring(peer.segment.header().bell);  // there is room again
  return moved > 0;
}

absl::Status ShmCommunicator::PumpAll() {
  while (true) {
    TESSERA_ASSIGN_OR_RETURN(const bool moved, Pump());
    if (!moved) return absl::OkStatus();
  }
}

bool ShmCommunicator::WaitsFor(int peer) const {
  const auto is_of_peer = [peer](const auto& part) { return part.peer == peer; };
  return std::any_of(receiving_.begin(), receiving_.end(), is_of_peer) ||
         std::any_of(sending_.begin(), sending_.end(), is_of_peer);
}

int ShmCommunicator::FirstLatePeer() const {
  return receiving_.empty() ? sending_.front().peer : receiving_.front().peer;
}

template <typename IsGone>
absl::Status ShmCommunicator::CheckPeers(IsGone is_gone) {
  for (int peer = 0; peer < size(); ++peer) {
    if (peer == rank() || !WaitsFor(peer) || !is_gone(peer)) continue;
    TESSERA_RETURN_IF_ERROR(PumpAll());
    if (WaitsFor(peer)) return PeerGone(peer);
  }
  return absl::OkStatus();
}

bool ShmCommunicator::Died(int rank) const {
  if (peers_[rank].life.get() < 0) return false;
  pollfd life = {.fd = peers_[rank].life.get(), .events = POLLIN, .revents = 0};
  return poll(&life, 1, 0) > 0;
}

void ShmCommunicator::Close() {
  own_.header().closed.store(1, std::memory_order_release);
  Ring(own_.header().bell);
  for (int peer = 0; peer < size(); ++peer) {
    if (peer != rank()) Ring(peers_[peer].segment.header().bell);
  }
}

absl::StatusOr<Peer> OpenPeer(const ConnectOptions& options, const Segment& own, int rank,
                              std::string_view text) {
  TESSERA_ASSIGN_OR_RETURN(const SegmentAddress address, SegmentAddress::FromText(text));
  Peer peer;
  if (address.pid != getpid()) {
    // Before its memory is opened: what answers then is the process that this watches.
    peer.life = OwnedFd(static_cast<int>(syscall(SYS_pidfd_open, address.pid, 0)));
    if (peer.life.get() < 0) {
      return absl::UnavailableError(
          absl::StrCat("a peer's process cannot be watched: ", std::strerror(errno)));
    }
  }
  TESSERA_ASSIGN_OR_RETURN(peer.segment, Segment::Open(options.size, address));
  peer.to = RingWriter(peer.segment.ring_from(options.rank));
  peer.from = RingReader(own.ring_from(rank));
  return peer;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> ConnectShmIfShared(const ConnectOptions& options) {
  SegmentAddress address;
  absl::StatusOr<Segment> own = Segment::Create(options.size, &address);
  // A rank that cannot take part says so, since the others wait for its word.
  TESSERA_ASSIGN_OR_RETURN(const std::vector<std::string> addresses,
                           options.rendezvous(absl::StrCat(options.round, "/shm/segments"),
                                              own.ok() ? address.ToText() : "", options.deadline));
  absl::Status opened = own.status();
  std::vector<Peer> peers(options.size);
  for (int rank = 0; rank < options.size && opened.ok(); ++rank) {
    if (rank == options.rank) continue;
    absl::StatusOr<Peer> peer = OpenPeer(options, *own, rank, addresses[rank]);
    opened = peer.status();
    if (opened.ok()) peers[rank] = *std::move(peer);
  }
  // Also keeps this rank's file open until everybody has opened it.
  TESSERA_ASSIGN_OR_RETURN(const std::vector<std::string> shared,
                           options.rendezvous(absl::StrCat(options.round, "/shm/opened"),
                                              opened.ok() ? "yes" : "no", options.deadline));
  for (const std::string& answer : shared) {
    if (answer != "yes") return nullptr;
  }
  own->CloseFile();
  return std::make_unique<ShmCommunicator>(options.rank, *std::move(own), std::move(peers));
}

}  // namespace tessera::transport
