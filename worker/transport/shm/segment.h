// The shared memory of one rank: its bell and a ring from each other rank.
//
// It is a memory file without a name: a process that is killed at any moment leaves nothing behind
// in /dev/shm, whose size (64 MiB in many containers) does not matter either. Peers open it as
// /proc/<pid>/fd/<number>, so they must see each other's process ids; they must anyway, to notice a
// death.
#ifndef TESSERA_WORKER_TRANSPORT_SHM_SEGMENT_H_
#define TESSERA_WORKER_TRANSPORT_SHM_SEGMENT_H_

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "worker/transport/shm/bell.h"
#include "worker/transport/shm/byte_ring.h"

namespace tessera::transport {

struct SegmentHeader {
  std::array<uint8_t, 16> token;  // random: tells that a peer has opened what was meant
  std::atomic<uint32_t> closed;   // 1: the rank makes no more calls
  alignas(kCacheLine) Bell bell;
};

// Owns a file descriptor. Movable.
class OwnedFd {
 public:
  explicit OwnedFd(int fd = -1) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  OwnedFd& operator=(OwnedFd&& other) noexcept;
  ~OwnedFd() { Reset(); }
  int get() const { return fd_; }
  void Reset();

 private:
  int fd_;
};

// What peers need to open a segment. Travels as text.
struct SegmentAddress {
  std::string host;  // the same for two processes that see each other's process ids
  pid_t pid = 0;
  int fd = -1;
  std::array<uint8_t, 16> token{};

  std::string ToText() const;
  static absl::StatusOr<SegmentAddress> FromText(std::string_view text);
};

// A mapping; unmaps when destroyed. Movable.
class Segment {
 public:
  Segment() = default;
  Segment(Segment&& other) noexcept { Swap(other); }
  Segment& operator=(Segment&& other) noexcept {
    Swap(other);
    return *this;
  }
  ~Segment();

  // A new one for a group of `ranks`, and where peers find it for as long as its file is open.
  static absl::StatusOr<Segment> Create(int ranks, SegmentAddress* address);
  // A peer's. UNAVAILABLE: cannot be opened, or is not what the address says.
  static absl::StatusOr<Segment> Open(int ranks, const SegmentAddress& address);

  SegmentHeader& header() const { return *static_cast<SegmentHeader*>(memory_); }
  ByteRing* ring_from(int rank) const;
  // Peers that have opened it keep it.
  void CloseFile() { file_.Reset(); }

 private:
  void Swap(Segment& other);

  OwnedFd file_;
  void* memory_ = nullptr;
  size_t size_ = 0;
};

}  // namespace tessera::transport

#endif  // TESSERA_WORKER_TRANSPORT_SHM_SEGMENT_H_
