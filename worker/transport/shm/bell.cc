#include "worker/transport/shm/bell.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

namespace tessera::transport {
namespace {

// The kernel reads the word of an atomic as a plain one.
static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t));

}  // namespace

// Ring and SleepUntilRung each write one word and then read the other, in the one order that all
// threads agree on: either the ringer sees the sleeper, or the kernel sees the new count.
void Ring(Bell& bell) {
  bell.rings.fetch_add(1, std::memory_order_seq_cst);
  if (bell.sleeping.load(std::memory_order_seq_cst) != 0) {
    syscall(SYS_futex, &bell.rings, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
  }
}

bool SleepUntilRung(Bell& bell, uint32_t seen, absl::Duration limit) {
  if (limit <= absl::ZeroDuration()) return Rings(bell) != seen;
  const timespec relative = absl::ToTimespec(limit);
  bell.sleeping.store(1, std::memory_order_seq_cst);
  const long result = syscall(SYS_futex, &bell.rings, FUTEX_WAIT, seen, &relative, nullptr, 0);
  const bool timed_out = result != 0 && errno == ETIMEDOUT;
  bell.sleeping.store(0, std::memory_order_relaxed);
  return !timed_out;
}

}  // namespace tessera::transport
