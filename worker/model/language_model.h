// The DeepSeekMoE language model: embeddings, decoder layers, final norm, lm_head, over a ragged
// batch.
#ifndef TESSERA_WORKER_MODEL_LANGUAGE_MODEL_H_
#define TESSERA_WORKER_MODEL_LANGUAGE_MODEL_H_

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kernels/kernels.h"
#include "worker/model/activations.h"
#include "worker/model/compute_context.h"
#include "worker/model/decoder_layer.h"
#include "worker/model/expert_dispatch.h"
#include "worker/model/model.h"
#include "worker/model/rotary.h"
#include "worker/model/step_batch.h"
#include "worker/model/weights.h"

namespace tessera::model {

// Not thread safe. Config, weights and context outlive it.
class LanguageModel {
 public:
  LanguageModel(const LanguageConfig& config, const LanguageWeights& weights,
                const ComputeContext& context);

  KvLayout kv_layout() const;

  // As VlModel::Forward.
  absl::Status Forward(absl::Span<const StepSequence> sequences,
                       absl::Span<const kernels::PagedKv> layers, kernels::Mat logits,
                       ForwardProbe* probe);

 private:
  absl::Status Check(absl::Span<const StepSequence> sequences,
                     absl::Span<const kernels::PagedKv> layers, kernels::ConstMat logits) const;
  absl::Status CheckSequence(const StepSequence& sequence, int64_t index,
                             const kernels::PagedKv& pages) const;
  void BuildBatch(absl::Span<const StepSequence> sequences);
  kernels::Mat Embed(absl::Span<const StepSequence> sequences);
  absl::Status RunLayers(absl::Span<const kernels::PagedKv> layers, const OutputRows* outputs,
                         ForwardProbe* probe, kernels::Mat* hidden);
  void ComputeLogits(kernels::ConstMat normed, const int32_t* rows, kernels::Mat logits);
  void ShowAllLogits(kernels::ConstMat normed, ForwardProbe* probe);
  absl::Status CheckFinite(kernels::ConstMat logits) const;

  const LanguageConfig& config_;
  const LanguageWeights& weights_;
  ComputeContext context_;
  RotaryTables rotary_;
  std::unique_ptr<ExpertDispatch> dispatch_;
  Activations activations_;
  std::vector<DecoderLayer> layers_;
  std::vector<int32_t> token_ids_;  // of the step, [rows]
  StepBatch batch_;
  OutputRows outputs_;
};

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_LANGUAGE_MODEL_H_
