// How a process in shared memory is told to look again.
#ifndef TESSERA_WORKER_TRANSPORT_SHM_BELL_H_
#define TESSERA_WORKER_TRANSPORT_SHM_BELL_H_

#include <atomic>
#include <cstdint>

#include "absl/time/time.h"

namespace tessera::transport {

// In shared memory. All zero: never rung. Many ring, one waits.
struct Bell {
  std::atomic<uint32_t> rings;
  std::atomic<uint32_t> sleeping;  // 1: the waiter is in the kernel, or on its way there
};
static_assert(std::atomic<uint32_t>::is_always_lock_free);

void Ring(Bell& bell);
inline uint32_t Rings(const Bell& bell) { return bell.rings.load(std::memory_order_acquire); }
// Sleeps until the bell has rung since Rings returned `seen`, but no longer than `limit`. False:
// the limit passed.
bool SleepUntilRung(Bell& bell, uint32_t seen, absl::Duration limit);

}  // namespace tessera::transport

#endif  // TESSERA_WORKER_TRANSPORT_SHM_BELL_H_
