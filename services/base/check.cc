#include "services/base/check.h"

#include <cstdio>
#include <cstdlib>

#include "absl/debugging/stacktrace.h"
#include "absl/debugging/symbolize.h"

namespace tessera {

CheckFailure::CheckFailure(const char* file, int line, const char* condition) {
  stream_ << file << ':' << line << ": check failed: " << condition << ' ';
}

CheckFailure::~CheckFailure() {
  std::fprintf(stderr, "%s\n", stream_.str().c_str());
  void* frames[32];
  const int depth = absl::GetStackTrace(frames, 32, 1);
  for (int i = 0; i < depth; ++i) {
    char symbol[256] = "?";
    absl::Symbolize(frames[i], symbol, sizeof(symbol));
    std::fprintf(stderr, "  %2d %s\n", i, symbol);
  }
  std::abort();
}

}  // namespace tessera
