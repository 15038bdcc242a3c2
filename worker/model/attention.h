// Attention of one decoder layer over paged K and V, in two steps: after the first, K and V of all
// rows are in the pages, and rows that nothing more is asked of can be dropped.
#ifndef TESSERA_WORKER_MODEL_ATTENTION_H_
#define TESSERA_WORKER_MODEL_ATTENTION_H_

#include <memory>
#include <vector>

#include "kernels/kernels.h"
#include "worker/model/activations.h"
#include "worker/model/compute_context.h"
#include "worker/model/model_config.h"
#include "worker/model/step_batch.h"
#include "worker/model/weights.h"

namespace tessera::model {

// Not thread safe.
class Attention {
 public:
  virtual ~Attention() = default;

  // x: [rows, hidden], normed. Writes K and V into the pages. Returns the queries, valid until the
  // next call of this layer or another.
  virtual kernels::Mat Project(const StepBatch& batch, kernels::ConstMat x,
                               kernels::PagedKv kv) = 0;

  // queries: as Project returned them, or some of their rows moved to the front with the batch that
  // describes them. out: [rows, hidden], after the output projection
  virtual void Attend(const StepBatch& batch, kernels::Mat queries, kernels::PagedKv kv,
                      kernels::Mat out) = 0;
};

// All arguments outlive the attention.
std::unique_ptr<Attention> MakeMhaAttention(const LanguageConfig& config, const MhaWeights& weights,
                                            const ComputeContext& context, kernels::RopeTable rope,
                                            Activations* activations);
std::unique_ptr<Attention> MakeMlaAttention(const LanguageConfig& config, const MlaWeights& weights,
                                            const ComputeContext& context, kernels::RopeTable rope,
                                            Activations* activations);

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_ATTENTION_H_
