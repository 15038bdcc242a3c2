#include "kernels/thread_pool.h"

#include <sched.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels/check.h"

namespace tessera::kernels {
namespace {

void CpuRelax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

int UsableCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  const int count = CPU_COUNT(&set);
  return count > 0 ? count : 1;
}

// Spins until ready() or until the time is over; in its second half it lets other threads run.
template <typename Ready>
bool SpinUntil(std::chrono::nanoseconds limit, const Ready& ready) {
  if (ready()) return true;
  if (limit.count() <= 0) return false;
  const auto start = std::chrono::steady_clock::now();
  for (;;) {
    for (int i = 0; i < 32; ++i) {
      if (ready()) return true;
      CpuRelax();
    }
    const auto spent = std::chrono::steady_clock::now() - start;
    if (spent > limit) return ready();
    if (spent > limit / 2) sched_yield();
  }
}

}  // namespace

struct ThreadPool::State {
  int num_threads = 1;
  std::chrono::nanoseconds spin{0};

  // The task of the current epoch; written before `epoch` moves, read after it was seen to.
  void (*body)(void*, int) = nullptr;
  void* context = nullptr;

  // Each on its own cache line: workers poll the first while others count down the second.
  alignas(64) std::atomic<uint64_t> epoch{0};
  alignas(64) std::atomic<int> unfinished{0};
  alignas(64) std::atomic<int> sleeping_workers{0};
  std::atomic<bool> caller_sleeps{false};
  std::atomic<bool> stop{false};

  std::mutex mutex;
  std::condition_variable worker_wakes;
  std::condition_variable caller_wakes;
  std::vector<std::thread> threads;

  // Blocks until the epoch differs from `seen`. The sequentially consistent order of
  // sleeping_workers and epoch makes sure that one side sees the other.
  void AwaitEpoch(uint64_t seen) {
    const auto moved = [&] { return epoch.load() != seen; };
    if (SpinUntil(spin, moved)) return;
    std::unique_lock<std::mutex> lock(mutex);
    sleeping_workers.fetch_add(1);
    worker_wakes.wait(lock, moved);
    sleeping_workers.fetch_sub(1);
  }

  void AwaitWorkers() {
    const auto done = [&] { return unfinished.load() == 0; };
    if (SpinUntil(spin, done)) return;
    std::unique_lock<std::mutex> lock(mutex);
    caller_sleeps.store(true);
    caller_wakes.wait(lock, done);
    caller_sleeps.store(false);
  }

  void FinishOne() {
    if (unfinished.fetch_sub(1) != 1 || !caller_sleeps.load()) return;
    std::lock_guard<std::mutex> lock(mutex);
    caller_wakes.notify_one();
  }

  void StartEpoch() {
    epoch.fetch_add(1);
    if (sleeping_workers.load() == 0) return;
    std::lock_guard<std::mutex> lock(mutex);
    worker_wakes.notify_all();
  }

  void WorkerLoop(int worker) {
    uint64_t seen = 0;
    for (;;) {
      AwaitEpoch(seen);
      ++seen;
      if (stop.load()) return;
      body(context, worker);
      FinishOne();
    }
  }
};

ThreadPool::ThreadPool(int num_threads, int spin_micros) : state_(std::make_unique<State>()) {
  KERNEL_CHECK(num_threads >= 1);
  State& state = *state_;
  state.num_threads = num_threads;
  if (num_threads <= UsableCpus()) state.spin = std::chrono::microseconds(spin_micros);
  state.threads.reserve(static_cast<size_t>(num_threads - 1));
  for (int worker = 1; worker < num_threads; ++worker) {
    state.threads.emplace_back([&state, worker] { state.WorkerLoop(worker); });
  }
}

ThreadPool::~ThreadPool() {
  state_->stop.store(true);
  state_->StartEpoch();
  for (std::thread& thread : state_->threads) thread.join();
}

int ThreadPool::num_threads() const { return state_->num_threads; }

void ThreadPool::RunOnAll(void (*body)(void* context, int worker), void* context) {
  State& state = *state_;
  if (state.num_threads == 1) {
    body(context, 0);
    return;
  }
  state.body = body;
  state.context = context;
  state.unfinished.store(state.num_threads - 1);
  state.StartEpoch();
  body(context, 0);
  state.AwaitWorkers();
}

}  // namespace tessera::kernels
