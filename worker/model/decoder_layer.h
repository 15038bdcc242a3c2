// One decoder layer: norm, attention, residual; norm, MLP or MoE, residual.
#ifndef TESSERA_WORKER_MODEL_DECODER_LAYER_H_
#define TESSERA_WORKER_MODEL_DECODER_LAYER_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "kernels/kernels.h"
#include "worker/model/activations.h"
#include "worker/model/attention.h"
#include "worker/model/compute_context.h"
#include "worker/model/expert_dispatch.h"
#include "worker/model/kv_observer.h"
#include "worker/model/model_config.h"
#include "worker/model/moe_layer.h"
#include "worker/model/step_batch.h"
#include "worker/model/weights.h"

namespace tessera::model {

// Not thread safe. All arguments outlive it.
class DecoderLayer {
 public:
  // local_layer: among the layers of its shard.
  DecoderLayer(const LanguageConfig& config, int64_t local_layer,
               const DecoderLayerWeights& weights, const ComputeContext& context,
               kernels::RopeTable rope, Activations* activations);

  // *hidden: [rows, hidden], updated in place. With `outputs`, only those rows go on once K and V
  // of all are in the pages: *hidden is then [outputs->rows, hidden], moved to the front. A row's
  // bits are the same either way. observer: may be null. A collective dispatch is called whether or
  // not rows are left.
  absl::Status Forward(const StepBatch& batch, const OutputRows* outputs, kernels::PagedKv kv,
                       ExpertDispatch& dispatch, KvObserver* observer, kernels::Mat* hidden);

  bool is_moe() const { return moe_ != nullptr; }

 private:
  void Attend(const StepBatch& batch, const OutputRows* outputs, kernels::PagedKv kv,
              KvObserver* observer, kernels::Mat* hidden);

  int64_t local_layer_;
  const DecoderLayerWeights& weights_;
  ComputeContext context_;
  float eps_;
  Activations* activations_;
  std::unique_ptr<Attention> attention_;
  std::unique_ptr<MoeLayer> moe_;  // null: a dense MLP
};

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_DECODER_LAYER_H_
