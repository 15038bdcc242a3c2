// What this machine can do at best, measured in the run that is judged against it.
#ifndef TESSERA_TESTS_BENCH_MACHINE_LIMITS_H_
#define TESSERA_TESTS_BENCH_MACHINE_LIMITS_H_

#include <string>

#include "kernels/thread_pool.h"

namespace tessera::bench {

struct MachineLimits {
  double f32_flops = 0;   // fused multiply-adds of the widest registers, all threads
  double bf16_flops = 0;  // vdpbf16ps; 0 where the processor lacks it
  double read_bytes = 0;  // bytes per second read from memory, all threads
};

// About 0.3 s.
MachineLimits MeasureMachineLimits(kernels::ThreadPool& pool);

}  // namespace tessera::bench

#endif  // TESSERA_TESTS_BENCH_MACHINE_LIMITS_H_
