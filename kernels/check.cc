#include "kernels/check.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace tessera::kernels {

void KernelCheckFailed(const char* file, int line, const char* condition) {
  const char* slash = std::strrchr(file, '/');
  std::fprintf(stderr, "kernels: %s:%d: broken invariant: %s\n", slash ? slash + 1 : file, line,
               condition);
  std::abort();
}

}  // namespace tessera::kernels
