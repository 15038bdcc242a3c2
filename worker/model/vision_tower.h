// The SigLIP-like vision transformer: tiles in, one row per patch out.
#ifndef TESSERA_WORKER_MODEL_VISION_TOWER_H_
#define TESSERA_WORKER_MODEL_VISION_TOWER_H_

#include <cstdint>

#include "kernels/kernels.h"
#include "worker/model/compute_context.h"
#include "worker/model/model_config.h"
#include "worker/model/scratch.h"
#include "worker/model/weights.h"

namespace tessera::model {

// Not thread safe. Config, weights and context outlive it.
class VisionTower {
 public:
  VisionTower(const VisionConfig& config, const VisionWeights& weights,
              const ComputeContext& context);

  // tiles: uint8 [num_tiles, 3, image_size, image_size]   out: [num_tiles * patches, width], after
  // the final norm
  void Forward(const uint8_t* tiles, int64_t num_tiles, kernels::Mat out);

 private:
  void ForwardSlice(const uint8_t* tiles, int64_t num_tiles, kernels::Mat hidden);
  void EmbedPatches(const uint8_t* tiles, int64_t num_tiles, kernels::Mat hidden);
  void Attention(const VisionBlockWeights& block, kernels::Mat hidden);
  void Mlp(const VisionBlockWeights& block, kernels::Mat hidden);
  void Linear(const LinearWeights& linear, kernels::ConstMat x, kernels::Mat y);

  const VisionConfig& config_;
  const VisionWeights& weights_;
  ComputeContext context_;
  ScratchMat normed_, wide_, attended_, branch_;
};

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_VISION_TOWER_H_
