// From patch rows to language-model rows: 2-D downsampling, then an MLP.
#ifndef TESSERA_WORKER_MODEL_PROJECTOR_H_
#define TESSERA_WORKER_MODEL_PROJECTOR_H_

#include <cstdint>

#include "kernels/kernels.h"
#include "worker/model/compute_context.h"
#include "worker/model/model_config.h"
#include "worker/model/scratch.h"
#include "worker/model/weights.h"

namespace tessera::model {

// Not thread safe. Config, weights and context outlive it.
class Projector {
 public:
  // grid: patches per side of a tile
  Projector(const ProjectorConfig& config, int64_t grid, const ProjectorWeights& weights,
            const ComputeContext& context);

  // Side of a tile's map of features: ceil(grid / downsample_ratio).
  static int64_t Side(const ProjectorConfig& config, int64_t grid) {
    return (grid + config.downsample_ratio - 1) / config.downsample_ratio;
  }
  int64_t side() const { return Side(config_, grid_); }

  // patches: [num_tiles * grid², input_dim] → features [num_tiles * side², n_embed], valid until
  // the next call
  kernels::ConstMat Forward(kernels::ConstMat patches, int64_t num_tiles);

 private:
  const ProjectorConfig& config_;
  int64_t grid_;
  const ProjectorWeights& weights_;
  ComputeContext context_;
  ScratchMat ping_, pong_;
};

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_PROJECTOR_H_
