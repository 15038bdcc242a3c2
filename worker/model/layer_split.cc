#include "worker/model/layer_split.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace tessera::model {

absl::StatusOr<std::vector<LayerRange>> SplitLayers(const ModelConfig& config, int64_t stages) {
  const int64_t layers = config.language.num_hidden_layers;
  if (stages < 1 || stages > layers) {
    return absl::InvalidArgumentError(
        absl::StrCat("stages is ", stages, "; must be in 1..", layers));
  }
  std::vector<LayerRange> ranges;
  for (int64_t stage = 0; stage < stages; ++stage) {
    const int64_t first = stage * layers / stages;
    ranges.push_back({first, (stage + 1) * layers / stages - first});
  }
  return ranges;
}

}  // namespace tessera::model
