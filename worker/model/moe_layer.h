// The mixture-of-experts MLP of one layer: router, dispatch, experts, combine, shared experts.
#ifndef TESSERA_WORKER_MODEL_MOE_LAYER_H_
#define TESSERA_WORKER_MODEL_MOE_LAYER_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "kernels/kernels.h"
#include "worker/model/activations.h"
#include "worker/model/compute_context.h"
#include "worker/model/expert_dispatch.h"
#include "worker/model/model_config.h"
#include "worker/model/weights.h"

namespace tessera::model {

// Not thread safe. All arguments outlive it.
class MoeLayer {
 public:
  // local_layer: among the layers of its shard. weights' experts may come and go between calls.
  MoeLayer(const LanguageConfig& config, int64_t local_layer, const MoeWeights& weights,
           const ComputeContext& context, Activations* activations);

  // x, out: [rows, hidden]. With a collective dispatch: at most kMaxCollectiveRows rows, and none
  // is as good as any. The router's choice stays in activations->expert_ids and ->expert_weights.
  absl::Status Forward(ExpertDispatch& dispatch, kernels::ConstMat x, kernels::Mat out);

 private:
  void Route(kernels::ConstMat x);
  absl::Status ForwardSlice(ExpertDispatch& dispatch, kernels::ConstMat x, int64_t first_row,
                            kernels::Mat out);
  void RunExperts(const ExpertWork& work, kernels::ConstMat x, const MlpWeights* shared,
                  kernels::Mat expert_out, kernels::Mat shared_out);
  void Gemm();  // over items_

  int64_t local_layer_;
  int64_t width_;  // of a routed expert
  const MoeWeights& weights_;
  ComputeContext context_;
  Activations* activations_;
  kernels::GateParams gate_;
  std::vector<kernels::GemmItem> items_;
};

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_MOE_LAYER_H_
