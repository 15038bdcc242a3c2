// `tessera check`: runs the golden data of the reference implementation
// (tests/fixtures/golden/README.md describes the layout) against this build and says, per quantity,
// how far the worst case is off. Everything is read from the files: no size, name or count is
// assumed.
#ifndef TESSERA_SERVICES_CLI_CHECK_CHECK_H_
#define TESSERA_SERVICES_CLI_CHECK_CHECK_H_

#include <ostream>
#include <string>

#include "absl/status/statusor.h"
#include "kernels/kernels.h"

namespace tessera::check {

struct Options {
  kernels::Compute compute = kernels::Compute::kF32;
  // Both outlive the call; used by the calling thread alone.
  const kernels::KernelTable* table = nullptr;
  kernels::ThreadPool* pool = nullptr;
};

// dir: a whole golden folder, or one of its parts: tokenizers/, processor/, models/, one model,
// sampling/, grounding/. Prints a table to `out` and returns whether everything passed; cases whose
// pictures are absent are skipped, and named. NOT_FOUND: dir holds nothing of the layout. Other
// errors: a file of it cannot be read.
absl::StatusOr<bool> Run(const std::string& dir, const Options& options, std::ostream& out);

}  // namespace tessera::check

#endif  // TESSERA_SERVICES_CLI_CHECK_CHECK_H_
