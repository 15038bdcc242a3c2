// What stands before the first decoder layer and after the last: embeddings, final norm, head.
#ifndef TESSERA_WORKER_MODEL_LANGUAGE_ENDS_H_
#define TESSERA_WORKER_MODEL_LANGUAGE_ENDS_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kernels/kernels.h"
#include "worker/model/activations.h"
#include "worker/model/compute_context.h"
#include "worker/model/model.h"
#include "worker/model/step_batch.h"
#include "worker/model/weights.h"

namespace tessera::model {

// Not thread safe. All arguments outlive it.
class LanguageEnds {
 public:
  LanguageEnds(const LanguageConfig& config, const EndWeights& weights,
               const ComputeContext& context, Activations* activations);

  // hidden: [batch.rows(), hidden], to be filled with token embeddings, pictures merged in.
  void Embed(absl::Span<const StepSequence> sequences, const StepBatch& batch, kernels::Mat hidden);

  // Final norm and head, as ModelShard::Logits.
  absl::Status Logits(kernels::ConstMat hidden, absl::Span<const int32_t> sequence_of,
                      kernels::Mat logits);

  // Shows a probe the final norm of all rows, and their logits if it wants them.
  void Show(kernels::ConstMat hidden, ForwardProbe& probe);

 private:
  kernels::Mat FinalNorm(kernels::ConstMat hidden);
  void Head(kernels::ConstMat normed, kernels::Mat logits);

  const LanguageConfig& config_;
  const EndWeights& weights_;
  ComputeContext context_;
  Activations* activations_;
  std::vector<int32_t> token_ids_;  // of the step, [rows]
};

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_LANGUAGE_ENDS_H_
