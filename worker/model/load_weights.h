// Loads the parts of a model; the tensor names of the official checkpoints stand in the .cc
// files.
#ifndef TESSERA_WORKER_MODEL_LOAD_WEIGHTS_H_
#define TESSERA_WORKER_MODEL_LOAD_WEIGHTS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "worker/model/expert_memory.h"
#include "worker/model/model_config.h"
#include "worker/model/weight_loader.h"
#include "worker/model/weights.h"

namespace tessera::model {

absl::StatusOr<VisionWeights> LoadVisionWeights(const VisionConfig& config, WeightLoader& loader);
absl::StatusOr<ProjectorWeights> LoadProjectorWeights(const ProjectorConfig& config,
                                                      WeightLoader& loader);
// One decoder layer. experts: which routed ones to load, ascending; ignored by a dense layer.
absl::StatusOr<DecoderLayerWeights> LoadLayerWeights(const LanguageConfig& config, int64_t layer,
                                                     absl::Span<const int32_t> experts,
                                                     WeightLoader& loader);
// One routed expert of an MoE layer. On failure the expert holds no memory.
absl::StatusOr<MlpWeights> LoadExpertWeights(const LanguageConfig& config, int64_t layer,
                                             int32_t expert, WeightLoader& loader,
                                             ExpertMemory* memory);
absl::StatusOr<EndWeights> LoadEndWeights(const ModelConfig& config, WeightLoader& loader);

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_LOAD_WEIGHTS_H_
