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
  MoeLayer(const LanguageConfig& config, const MoeWeights& weights, const ComputeContext& context,
           ExpertDispatch* dispatch, Activations* activations);

  // x, out: [rows, hidden]. The router's choice stays in activations->expert_ids and
  // ->expert_weights.
  absl::Status Forward(kernels::ConstMat x, kernels::Mat out);

 private:
  void Route(kernels::ConstMat x);
  absl::Status ForwardSlice(kernels::ConstMat x, int64_t first_row, kernels::Mat out);
  void RunExperts(const ExpertWork& work, kernels::ConstMat x, kernels::Mat expert_out,
                  kernels::Mat shared_out);

  const MoeWeights& weights_;
  ComputeContext context_;
  ExpertDispatch* dispatch_;
  Activations* activations_;
  kernels::GateParams gate_;
  std::vector<kernels::GemmItem> items_;
};

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_MOE_LAYER_H_
