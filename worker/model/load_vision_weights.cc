#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "worker/model/load_weights.h"

namespace tessera::model {
namespace {

absl::StatusOr<VisionBlockWeights> LoadBlock(const VisionConfig& config, const std::string& prefix,
                                             WeightLoader& loader) {
  const int64_t width = config.width;
  const int64_t mlp = config.mlp_width();
  VisionBlockWeights block;
  TESSERA_ASSIGN_OR_RETURN(block.norm1, loader.LayerNorm(prefix + "norm1", width));
  TESSERA_ASSIGN_OR_RETURN(
      block.qkv, loader.Linear(prefix + "attn.qkv", 3 * width, width, /*with_bias=*/true));
  TESSERA_ASSIGN_OR_RETURN(block.proj,
                           loader.Linear(prefix + "attn.proj", width, width, /*with_bias=*/true));
  TESSERA_ASSIGN_OR_RETURN(block.norm2, loader.LayerNorm(prefix + "norm2", width));
  TESSERA_ASSIGN_OR_RETURN(block.fc1,
                           loader.Linear(prefix + "mlp.fc1", mlp, width, /*with_bias=*/true));
  TESSERA_ASSIGN_OR_RETURN(block.fc2,
                           loader.Linear(prefix + "mlp.fc2", width, mlp, /*with_bias=*/true));
  return block;
}

}  // namespace

absl::StatusOr<VisionWeights> LoadVisionWeights(const VisionConfig& config, WeightLoader& loader) {
  VisionWeights weights;
  const int64_t patch_values = 3 * config.patch_size * config.patch_size;
  TESSERA_ASSIGN_OR_RETURN(
      weights.patch_embed,
      loader.Linear("vision.patch_embed.proj", config.width, patch_values, /*with_bias=*/true));
  TESSERA_ASSIGN_OR_RETURN(weights.pos_embed,
                           loader.Vector("vision.pos_embed", {1, config.patches(), config.width}));
  for (int64_t i = 0; i < config.layers; ++i) {
    TESSERA_ASSIGN_OR_RETURN(VisionBlockWeights block,
                             LoadBlock(config, absl::StrCat("vision.blocks.", i, "."), loader));
    weights.blocks.push_back(std::move(block));
  }
  TESSERA_ASSIGN_OR_RETURN(weights.norm, loader.LayerNorm("vision.norm", config.width));
  return weights;
}

absl::StatusOr<ProjectorWeights> LoadProjectorWeights(const ProjectorConfig& config,
                                                      WeightLoader& loader) {
  ProjectorWeights weights;
  const int64_t inner = config.n_embed * config.mlp_ratio;
  int64_t input = config.input_dim * config.downsample_ratio * config.downsample_ratio;
  for (int64_t i = 0; i < config.depth; ++i) {
    const int64_t output = i + 1 == config.depth ? config.n_embed : inner;
    // Activations stand at the odd places of the official module list.
    TESSERA_ASSIGN_OR_RETURN(LinearWeights layer,
                             loader.Linear(absl::StrCat("projector.layers.", 2 * i), output, input,
                                           /*with_bias=*/true));
    weights.layers.push_back(std::move(layer));
    input = output;
  }
  TESSERA_ASSIGN_OR_RETURN(weights.image_newline, loader.Vector("image_newline", {config.n_embed}));
  TESSERA_ASSIGN_OR_RETURN(weights.view_separator,
                           loader.Vector("view_seperator", {config.n_embed}));
  return weights;
}

}  // namespace tessera::model
