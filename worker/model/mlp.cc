#include "worker/model/mlp.h"

namespace tessera::model {

void ApplyMlp(const ComputeContext& context, const MlpWeights& weights, kernels::ConstMat x,
              Activations* activations, kernels::Mat out) {
  const kernels::Mat gate_up = activations->gate_up.Get(x.rows, weights.gate_up.n);
  const kernels::Mat gated = activations->gated.Get(x.rows, weights.down.k);
  const kernels::GemmItem up{x, nullptr, &weights.gate_up, nullptr, gate_up};
  context.table->gemm(*context.stream, context.compute, &up, 1);
  context.table->silu_mul(*context.stream, gate_up, gated);
  const kernels::GemmItem down{gated, nullptr, &weights.down, nullptr, out};
  context.table->gemm(*context.stream, context.compute, &down, 1);
}

}  // namespace tessera::model
