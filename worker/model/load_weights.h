// Loads the weights of a whole model; the tensor names of the official checkpoints stand in the .cc
// files.
#ifndef TESSERA_WORKER_MODEL_LOAD_WEIGHTS_H_
#define TESSERA_WORKER_MODEL_LOAD_WEIGHTS_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/model/model_config.h"
#include "worker/model/weight_loader.h"
#include "worker/model/weights.h"

namespace tessera::model {

absl::StatusOr<VisionWeights> LoadVisionWeights(const VisionConfig& config, WeightLoader& loader);
absl::StatusOr<ProjectorWeights> LoadProjectorWeights(const ProjectorConfig& config,
                                                      WeightLoader& loader);
absl::StatusOr<LanguageWeights> LoadLanguageWeights(const LanguageConfig& config,
                                                    WeightLoader& loader);

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_LOAD_WEIGHTS_H_
