// What a CPU op may ask of its Stream: threads and scratch memory. Plain functions, so that files
// built for one instruction set share no inline code with the rest.
#ifndef TESSERA_KERNELS_CPU_STREAM_H_
#define TESSERA_KERNELS_CPU_STREAM_H_

#include <cstdint>

namespace tessera::kernels {

class Stream;

// Independent buffers: what one op keeps alive at the same time lies in different slots.
enum class ScratchSlot : uint8_t { kPackedInput, kPlan, kThread, kRows };
inline constexpr int kNumScratchSlots = 4;

// Threads of the stream's pool, the caller included; at least 1.
int StreamThreads(const Stream& stream);
// Runs body(context, worker) once per worker in [0, StreamThreads); returns when all are done.
void StreamRunOnAll(Stream& stream, void (*body)(void* context, int worker), void* context);
// At least `bytes` bytes, 64-byte aligned, contents unspecified, valid until the next call for the
// same slot. Grows and never shrinks. Called by the thread that called the op.
void* StreamScratch(Stream& stream, ScratchSlot slot, int64_t bytes);

namespace {  // NOLINT(google-build-namespaces): internal linkage, see above

// Work below this many simple operations runs on the calling thread: a fork costs about as much.
inline constexpr int64_t kSerialWork = 16 * 1024;

template <typename Body>
struct RangesTask {
  const Body* body;
  int64_t count;
  int64_t parts;
  static void Run(void* context, int worker) {
    const auto& task = *static_cast<const RangesTask*>(context);
    if (worker >= task.parts) return;
    const int64_t begin = task.count * worker / task.parts;
    const int64_t end = task.count * (worker + 1) / task.parts;
    if (begin < end) (*task.body)(begin, end, worker);
  }
};

// Calls body(begin, end, worker) on contiguous parts of [0, count); work_per_unit is the rough
// number of simple operations of one unit. Results must not depend on the cut.
template <typename Body>
void ParallelRanges(Stream& stream, int64_t count, int64_t work_per_unit, const Body& body) {
  if (count <= 0) return;
  const int64_t threads = StreamThreads(stream);
  if (threads == 1 || count == 1 || count * work_per_unit < kSerialWork) {
    body(0, count, 0);
    return;
  }
  RangesTask<Body> task{&body, count, threads < count ? threads : count};
  StreamRunOnAll(stream, &RangesTask<Body>::Run, &task);
}

template <typename Body>
struct ClaimTask {
  const Body* body;
  int64_t count;
  int64_t next;
  static void Run(void* context, int worker) {
    auto& task = *static_cast<ClaimTask*>(context);
    for (;;) {
      const int64_t unit = __atomic_fetch_add(&task.next, 1, __ATOMIC_RELAXED);
      if (unit >= task.count) return;
      (*task.body)(unit, worker);
    }
  }
};

// Calls body(unit, worker) for each unit in [0, count); threads claim units in ascending order.
template <typename Body>
void ParallelUnits(Stream& stream, int64_t count, const Body& body) {
  if (count <= 0) return;
  ClaimTask<Body> task{&body, count, 0};
  if (count == 1 || StreamThreads(stream) == 1) {
    ClaimTask<Body>::Run(&task, 0);
    return;
  }
  StreamRunOnAll(stream, &ClaimTask<Body>::Run, &task);
}

}  // namespace
}  // namespace tessera::kernels

#endif  // TESSERA_KERNELS_CPU_STREAM_H_
