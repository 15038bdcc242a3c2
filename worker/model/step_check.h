// Whether a step's sequences may be run: ids, positions, blocks and image rows in range.
#ifndef TESSERA_WORKER_MODEL_STEP_CHECK_H_
#define TESSERA_WORKER_MODEL_STEP_CHECK_H_

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kernels/kernels.h"
#include "worker/model/model.h"
#include "worker/model/model_config.h"

namespace tessera::model {

// layers: the pages that the step would write, which must be as `layout` says. INVALID_ARGUMENT
// names the sequence by its index, the value and its bound.
absl::Status CheckStep(const LanguageConfig& config, const KvLayout& layout,
                       absl::Span<const StepSequence> sequences,
                       absl::Span<const kernels::PagedKv> layers);

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_STEP_CHECK_H_
