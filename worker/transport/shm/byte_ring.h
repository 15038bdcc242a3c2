// A stream of bytes from one process to another through shared memory: one writer, one reader.
#ifndef TESSERA_WORKER_TRANSPORT_SHM_BYTE_RING_H_
#define TESSERA_WORKER_TRANSPORT_SHM_BYTE_RING_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/types/span.h"
#include "worker/transport/shm/copy_bytes.h"

namespace tessera::transport {

inline constexpr size_t kCacheLine = 64;
inline constexpr size_t kRingBytes = size_t{1} << 20;  // a power of two
// What is moved before the other side is told. Large messages are then written and read at the same
// time.
inline constexpr size_t kRingPiece = size_t{32} << 10;

// In shared memory. All zero: empty. The counts only grow; each has one writer, and a cache line of
// its own so that the two sides do not slow each other down.
struct ByteRing {
  alignas(kCacheLine) std::atomic<uint64_t> written;
  alignas(kCacheLine) std::atomic<uint64_t> read;
  alignas(kCacheLine) std::byte bytes[kRingBytes];
};
static_assert(std::atomic<uint64_t>::is_always_lock_free);

// Both ends move at most kRingPiece bytes and return how many; absent: the counts make no sense, so
// somebody else has written into the memory.
class RingWriter {
 public:
  explicit RingWriter(ByteRing* ring = nullptr) : ring_(ring) {}

  std::optional<size_t> Write(absl::Span<const std::byte> bytes) {
    const uint64_t used = written_ - ring_->read.load(std::memory_order_acquire);
    if (used > kRingBytes) return std::nullopt;
    const size_t size = std::min({bytes.size(), kRingBytes - used, kRingPiece});
    const size_t at = written_ % kRingBytes;
    const size_t first = std::min(size, kRingBytes - at);
    CopyBytes(bytes.data(), ring_->bytes + at, first);
    CopyBytes(bytes.data() + first, ring_->bytes, size - first);
    written_ += size;
    ring_->written.store(written_, std::memory_order_release);
    return size;
  }

 private:
  ByteRing* ring_;
  uint64_t written_ = 0;
};

class RingReader {
 public:
  explicit RingReader(ByteRing* ring = nullptr) : ring_(ring) {}

  std::optional<size_t> Read(absl::Span<std::byte> bytes) {
    const uint64_t there = ring_->written.load(std::memory_order_acquire) - read_;
    if (there > kRingBytes) return std::nullopt;
    const size_t size = std::min({bytes.size(), static_cast<size_t>(there), kRingPiece});
    const size_t at = read_ % kRingBytes;
    const size_t first = std::min(size, kRingBytes - at);
    CopyBytes(ring_->bytes + at, bytes.data(), first);
    CopyBytes(ring_->bytes, bytes.data() + first, size - first);
    read_ += size;
    ring_->read.store(read_, std::memory_order_release);
    return size;
  }

 private:
  ByteRing* ring_;
  uint64_t read_ = 0;
};

}  // namespace tessera::transport

#endif  // TESSERA_WORKER_TRANSPORT_SHM_BYTE_RING_H_
