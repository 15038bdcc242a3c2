#include "kernels/cpu_features.h"

namespace tessera::kernels {

namespace generic {
extern const KernelTable kTable;
}
namespace avx2 {
extern const KernelTable kTable;
}
namespace avx512bf16 {
extern const KernelTable kTable;
}

namespace {

// __builtin_cpu_supports reports AVX and AVX-512 only where the operating system saves their
// registers (it asks XGETBV).
bool HasGeneric() {
  return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("ssse3") &&
         __builtin_cpu_supports("popcnt");
}

bool HasAvx2() {
  return HasGeneric() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c");
}

bool HasAvx512Bf16() {
  return HasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bf16");
}

}  // namespace

const KernelTable* RunnableIsaTable(Backend backend) {
  switch (backend) {
    case Backend::kReference:
      return nullptr;
    case Backend::kCpuGeneric:
      return HasGeneric() ? &generic::kTable : nullptr;
    case Backend::kCpuAvx2:
      return HasAvx2() ? &avx2::kTable : nullptr;
    case Backend::kCpuAvx512Bf16:
      return HasAvx512Bf16() ? &avx512bf16::kTable : nullptr;
  }
  return nullptr;
}

}  // namespace tessera::kernels
