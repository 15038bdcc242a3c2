// The rows of one step as the layers see them.
#ifndef TESSERA_WORKER_MODEL_STEP_BATCH_H_
#define TESSERA_WORKER_MODEL_STEP_BATCH_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "kernels/kernels.h"
#include "worker/model/model.h"

namespace tessera::model {

// Ragged: sequences' rows follow each other.
struct StepBatch {
  std::vector<int32_t> positions;                // [rows]
  std::vector<kernels::SequenceRows> sequences;  // block tables belong to the caller of the step
  int64_t rows() const { return static_cast<int64_t>(positions.size()); }
};

// The rows of a step that something is read from after the last layer's K and V are written.
struct OutputRows {
  std::vector<int32_t> rows;       // ascending, of the step
  std::vector<int32_t> sequences;  // sequence index of each
  StepBatch batch;                 // the same rows as a batch of their own, one row per sequence
};

// The rows of the sequences in their order; those that logits are asked of as outputs.
void BuildStepBatch(absl::Span<const StepSequence> sequences, StepBatch* batch,
                    OutputRows* outputs);

// Moves the named rows, which ascend, to the front; returns those.
kernels::Mat KeepRows(absl::Span<const int32_t> rows, kernels::Mat matrix);

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_STEP_BATCH_H_
