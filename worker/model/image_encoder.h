// From the tiles of a picture to rows of the language model: tower, projector, 2-D layout.
#ifndef TESSERA_WORKER_MODEL_IMAGE_ENCODER_H_
#define TESSERA_WORKER_MODEL_IMAGE_ENCODER_H_

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/kernels.h"
#include "worker/model/compute_context.h"
#include "worker/model/model.h"
#include "worker/model/model_config.h"
#include "worker/model/projector.h"
#include "worker/model/scratch.h"
#include "worker/model/tile_layout.h"
#include "worker/model/vision_tower.h"
#include "worker/model/weights.h"

namespace tessera::model {

// How the features of a picture with this grid are laid out.
TileLayout LayoutOfImage(const ModelConfig& config, int64_t tiles_across, int64_t tiles_down);

// Not thread safe. All arguments outlive it.
class ImageEncoder {
 public:
  ImageEncoder(const ModelConfig& config, const EndWeights& weights, const ComputeContext& context);

  // As VlModel::EncodeImage.
  absl::Status Encode(const ImageTiles& image, kernels::Mat features, ForwardProbe* probe);

 private:
  absl::Status Check(const ImageTiles& image, kernels::ConstMat features) const;

  const ModelConfig& config_;
  const ProjectorWeights& projector_weights_;
  VisionTower vision_tower_;
  Projector projector_;
  ScratchMat patches_;
};

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_IMAGE_ENCODER_H_
