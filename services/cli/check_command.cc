// `tessera check`
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <memory>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/kernels.h"
#include "kernels/thread_pool.h"
#include "services/cli/check/check.h"
#include "services/cli/client/answer_text.h"
#include "services/cli/commands.h"
#include "services/cli/flags.h"

namespace tessera::cli {
namespace {

absl::StatusOr<bool> Check(const std::string& folder, const std::string& compute,
                           const std::string& cpu_isa, int64_t threads) {
  check::Options options;
  options.compute = compute == "f32" ? kernels::Compute::kF32 : kernels::Compute::kBF16;
  options.table = kernels::KernelsByName(cpu_isa);
  if (options.table == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("kernels \"", cpu_isa, "\" do not run on this machine; these do: ",
                     absl::StrJoin(kernels::RunnableKernelNames(), ", ")));
  }
  const int64_t processors = std::max(1U, std::thread::hardware_concurrency());
  kernels::ThreadPool pool(static_cast<int>(threads > 0 ? threads : processors));
  options.pool = &pool;
  return check::Run(folder, options, std::cout);
}

}  // namespace

int RunCheckCommand(const Arguments& arguments) {
  Flags flags("check",
              "Runs this build against a folder of golden results of the reference implementation "
              "(tests/fixtures/golden/README.md describes "
              "the layout; gzipped files are read too) and prints per quantity: cases, worst "
              "error, tolerance, pass or fail.",
              "Exit codes: 0 all passed, 1 something failed or could not be read, 2 wrong usage.");
  std::string folder;
  std::string compute = "f32";
  std::string cpu_isa = "auto";
  int64_t threads = 0;
  flags.Positional("GOLDEN_DIR", &folder, "the whole folder or one of its parts",
                   /*required=*/true);
  flags.OneOf("--compute", &compute, {"f32", "bf16"},
              "tight tolerances, or the serving setting with its own rules");
  flags.OneOf("--cpu-isa", &cpu_isa, {"auto", "reference", "generic", "avx2", "avx512bf16"},
              "kernels");
  flags.Integer("--threads", &threads, "0: all processors");
  if (const auto exit_code = flags.Parse(arguments); exit_code.has_value()) {
    return *exit_code;
  }
  if (threads < 0 || threads > 1024) {
    std::fputs("tessera check: --threads is not within 0 to 1024\n", stderr);
    return kExitUsage;
  }
  const absl::StatusOr<bool> passed = Check(folder, compute, cpu_isa, threads);
  if (!passed.ok()) {
    std::fputs(ErrorText("check", passed.status()).c_str(), stderr);
  }
  return passed.ok() && *passed ? kExitOk : kExitFailure;
}

}  // namespace tessera::cli
