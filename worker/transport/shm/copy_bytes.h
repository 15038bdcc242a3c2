// Copies between a core's own memory and memory that another core has just written.
#ifndef TESSERA_WORKER_TRANSPORT_SHM_COPY_BYTES_H_
#define TESSERA_WORKER_TRANSPORT_SHM_COPY_BYTES_H_

#include <cstddef>
#include <cstring>

namespace tessera::transport {

// The ranges do not overlap. A plain loop of vector loads and stores: for such sizes the C library
// may choose a string instruction, which some machines run several times slower on lines that
// another core holds.
inline void CopyBytes(const std::byte* from, std::byte* to, size_t size) {
  constexpr size_t kStep = 64;
  size_t i = 0;
  for (; i + kStep <= size; i += kStep) {
    __builtin_memcpy(to + i, from + i, kStep);
    asm volatile("" ::: "memory");  // or the compiler makes a call of memcpy of the loop
  }
  if (i < size) std::memcpy(to + i, from + i, size - i);
}

}  // namespace tessera::transport

#endif  // TESSERA_WORKER_TRANSPORT_SHM_COPY_BYTES_H_
