// Fork-join threads for kernels: spin, then sleep. Fork-join costs well under a microsecond while
// the pool is hot.
#ifndef TESSERA_KERNELS_THREAD_POOL_H_
#define TESSERA_KERNELS_THREAD_POOL_H_

#include <cstdint>
#include <memory>
#include <type_traits>

namespace tessera::kernels {

// Not thread safe: one caller at a time. The calling thread works too, as worker 0.
class ThreadPool {
 public:
  // How long a thread that waits spins before it sleeps, in microseconds.
  static constexpr int kDefaultSpinMicros = 80;

  // num_threads >= 1, the caller included; threads are pinned to nothing. With more threads than
  // the process may use CPUs, waits sleep at once: a spinning thread would keep the CPU from the
  // one that it waits for.
  explicit ThreadPool(int num_threads, int spin_micros = kDefaultSpinMicros);
  ~ThreadPool();  // joins
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const;

  // Runs body(context, worker) once for each worker in [0, num_threads), and returns when all are
  // done.
  void RunOnAll(void (*body)(void* context, int worker), void* context);

  // As above for a callable `void(int worker)`.
  template <typename Body>
  void RunOnAll(Body&& body) {
    RunOnAll([](void* context,
                int worker) { (*static_cast<std::remove_reference_t<Body>*>(context))(worker); },
             const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tessera::kernels

#endif  // TESSERA_KERNELS_THREAD_POOL_H_
