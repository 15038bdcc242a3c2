// The SwiGLU MLP: down(silu(gate(x)) * up(x)).
#ifndef TESSERA_WORKER_MODEL_MLP_H_
#define TESSERA_WORKER_MODEL_MLP_H_

#include "kernels/kernels.h"
#include "worker/model/activations.h"
#include "worker/model/compute_context.h"
#include "worker/model/weights.h"

namespace tessera::model {

// x, out: [rows, hidden]; out may not overlap x. Uses activations->gate_up and ->gated.
void ApplyMlp(const ComputeContext& context, const MlpWeights& weights, kernels::ConstMat x,
              Activations* activations, kernels::Mat out);

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_MLP_H_
