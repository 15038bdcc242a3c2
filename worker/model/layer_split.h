// How the decoder layers are shared out among pipeline stages.
#ifndef TESSERA_WORKER_MODEL_LAYER_SPLIT_H_
#define TESSERA_WORKER_MODEL_LAYER_SPLIT_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/model_config.h"

namespace tessera::model {

struct LayerRange {
  int64_t first = 0;
  int64_t num = 0;  // >= 1

  friend bool operator==(const LayerRange&, const LayerRange&) = default;
};

// Consecutive ranges of all layers, in number at most one apart. Pure: the planner and every rank
// agree. INVALID_ARGUMENT: stages not in 1..layers.
absl::StatusOr<std::vector<LayerRange>> SplitLayers(const ModelConfig& config, int64_t stages);

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_LAYER_SPLIT_H_
