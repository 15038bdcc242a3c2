#include "worker/model/model_shard.h"

#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "worker/model/load_weights.h"
#include "worker/model/loaded_shard.h"
#include "worker/model/weight_loader.h"

namespace tessera::model {
namespace {

absl::Status CheckExperts(const LanguageConfig& config, const std::vector<int32_t>& experts) {
  const int64_t count = config.n_routed_experts.value_or(0);
  for (size_t i = 0; i < experts.size(); ++i) {
    if (experts[i] < 0 || experts[i] >= count) {
      return absl::InvalidArgumentError(absl::StrCat("shard: experts holds ", experts[i],
                                                     "; the model has ", count, " routed experts"));
    }
    if (i > 0 && experts[i] <= experts[i - 1])
      return absl::InvalidArgumentError("shard: experts must ascend, each one once");
  }
  return absl::OkStatus();
}

// Checks the spec and fills in the number of layers.
absl::Status Resolve(const LanguageConfig& config, ShardSpec* spec) {
  const int64_t layers = config.num_hidden_layers;
  if (spec->first_layer < 0 || spec->first_layer >= layers) {
    return absl::InvalidArgumentError(
        absl::StrCat("shard: first_layer is ", spec->first_layer, "; must be in 0..", layers - 1));
  }
  const int64_t most = layers - spec->first_layer;
  if (spec->num_layers == -1) spec->num_layers = most;
  if (spec->num_layers < 1 || spec->num_layers > most) {
    return absl::InvalidArgumentError(
        absl::StrCat("shard: num_layers is ", spec->num_layers, "; must be in 1..", most));
  }
  return CheckExperts(config, spec->experts);
}

// Into *weights: a loader may keep memory of its arena.
absl::Status LoadWeights(const ModelConfig& config, const ShardSpec& spec, WeightLoader& loader,
                         ShardWeights* weights) {
  if (spec.holds_ends) {
    TESSERA_ASSIGN_OR_RETURN(weights->ends, LoadEndWeights(config, loader));
  }
  std::vector<int32_t> experts = spec.experts;
  if (experts.empty()) {
    experts.resize(static_cast<size_t>(config.language.n_routed_experts.value_or(0)));
    std::iota(experts.begin(), experts.end(), 0);
  }
  for (int64_t i = 0; i < spec.num_layers; ++i) {
    TESSERA_ASSIGN_OR_RETURN(
        DecoderLayerWeights layer,
        LoadLayerWeights(config.language, spec.first_layer + i, experts, loader));
    weights->layers.push_back(std::move(layer));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<LoadedShard>> LoadedShard::Load(const std::string& model_dir,
                                                               const LoadOptions& options,
                                                               const ShardSpec& spec) {
  if (options.table == nullptr || options.pool == nullptr) {
    return absl::InvalidArgumentError("load options: table and pool must be set");
  }
  TESSERA_ASSIGN_OR_RETURN(ModelConfig config, ReadModelConfig(model_dir));
  ShardSpec resolved = spec;
  TESSERA_RETURN_IF_ERROR(Resolve(config.language, &resolved));
  TESSERA_ASSIGN_OR_RETURN(std::unique_ptr<Checkpoint> checkpoint, Checkpoint::Open(model_dir));

  WeightLoader survey = WeightLoader::Survey(*checkpoint, options);
  ShardWeights surveyed;
  TESSERA_RETURN_IF_ERROR(LoadWeights(config, resolved, survey, &surveyed));

  ShardWeights weights;
  WeightLoader loader(*checkpoint, options, &weights.arena, survey.counted_bytes());
  TESSERA_RETURN_IF_ERROR(LoadWeights(config, resolved, loader, &weights));
  loader.ReportDone();
  return std::make_unique<LoadedShard>(std::move(config), std::move(resolved),
                                       std::move(checkpoint), std::move(weights), options);
}

absl::StatusOr<std::unique_ptr<ModelShard>> ModelShard::Load(const std::string& model_dir,
                                                             const LoadOptions& options,
                                                             const ShardSpec& spec) {
  TESSERA_ASSIGN_OR_RETURN(std::unique_ptr<ModelShard> shard,
                           LoadedShard::Load(model_dir, options, spec));
  return shard;
}

}  // namespace tessera::model
