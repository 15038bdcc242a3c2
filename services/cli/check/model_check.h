// Runs the cases of one golden model folder.
#ifndef TESSERA_SERVICES_CLI_CHECK_MODEL_CHECK_H_
#define TESSERA_SERVICES_CLI_CHECK_MODEL_CHECK_H_

#include <string>

#include "absl/status/status.h"
#include "services/cli/check/check.h"
#include "services/cli/check/report.h"
#include "worker/model/model.h"

namespace tessera::check {

// Adds rows to the report under the folder's name. With Compute::kF32 every quantity is held to the
// float32 tolerances (README, section 2); with kBF16 layer states to a cosine of 0.99 and, where
// the reference's own bfloat16 run kept the first token, that token. Errors: the folder's model or
// a golden file cannot be read.
absl::Status CheckModel(const std::string& model_dir, const Options& options, Report* report);

// One case of the folder; model is the folder's.
absl::Status CheckModelCase(const std::string& model_dir, const std::string& case_name,
                            const Options& options, model::VlModel& model, Report* report);

}  // namespace tessera::check

#endif  // TESSERA_SERVICES_CLI_CHECK_MODEL_CHECK_H_
