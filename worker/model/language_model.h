// The decoder layers of a shard, over a ragged batch.
#ifndef TESSERA_WORKER_MODEL_LANGUAGE_MODEL_H_
#define TESSERA_WORKER_MODEL_LANGUAGE_MODEL_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kernels/kernels.h"
#include "worker/model/activations.h"
#include "worker/model/compute_context.h"
#include "worker/model/decoder_layer.h"
#include "worker/model/expert_dispatch.h"
#include "worker/model/kv_observer.h"
#include "worker/model/local_expert_dispatch.h"
#include "worker/model/model.h"
#include "worker/model/rotary.h"
#include "worker/model/step_batch.h"
#include "worker/model/weights.h"

namespace tessera::model {

// Not thread safe. Config, weights and context outlive it; routed experts of the weights may come
// and go between calls.
class LanguageModel {
 public:
  // weights: of layers first_layer, first_layer + 1, …
  LanguageModel(const LanguageConfig& config, int64_t first_layer,
                const std::vector<DecoderLayerWeights>& weights, const ComputeContext& context);
  LanguageModel(const LanguageModel&) = delete;  // its layers point into it
  LanguageModel& operator=(const LanguageModel&) = delete;

  KvLayout kv_layout() const;

  // As ModelShard.
  void SetExpertDispatch(ExpertDispatch* dispatch) { dispatch_ = dispatch; }
  void SetKvObserver(KvObserver* observer) { observer_ = observer; }
  kernels::Mat Residual(int64_t rows) { return activations_.hidden.Get(rows, config_.hidden_size); }
  absl::Status RunLayers(const StepBatch& batch, const OutputRows* outputs,
                         absl::Span<const kernels::PagedKv> layers, kernels::Mat* hidden,
                         ForwardProbe* probe);

  // Shared with what runs before and after the layers.
  Activations* activations() { return &activations_; }

 private:
  absl::Status CheckRun(const StepBatch& batch, absl::Span<const kernels::PagedKv> layers,
                        kernels::ConstMat hidden) const;

  const LanguageConfig& config_;
  int64_t first_layer_;
  const std::vector<DecoderLayerWeights>& weights_;
  ComputeContext context_;
  RotaryTables rotary_;
  LocalExpertDispatch local_dispatch_;
  ExpertDispatch* dispatch_ = nullptr;  // null: local_dispatch_
  KvObserver* observer_ = nullptr;
  Activations activations_;
  std::vector<DecoderLayer> layers_;
};

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_LANGUAGE_MODEL_H_
