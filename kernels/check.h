// KERNEL_CHECK: a caller broke the contract of an op. Prints the place and ends the process.
#ifndef TESSERA_KERNELS_CHECK_H_
#define TESSERA_KERNELS_CHECK_H_

namespace tessera::kernels {

[[noreturn]] void KernelCheckFailed(const char* file, int line, const char* condition);

}  // namespace tessera::kernels

#define KERNEL_CHECK(condition)       \
  (__builtin_expect(!!(condition), 1) \
       ? static_cast<void>(0)         \
       : ::tessera::kernels::KernelCheckFailed(__FILE__, __LINE__, #condition))

#endif  // TESSERA_KERNELS_CHECK_H_
