#include "worker/model/loaded_shard.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/check.h"
#include "services/base/status_macros.h"
#include "worker/model/load_weights.h"
#include "worker/model/step_check.h"
#include "worker/model/weight_loader.h"

namespace tessera::model {
namespace {

using kernels::ConstMat;
using kernels::Mat;
using kernels::PagedKv;

absl::Status NoEnds() {
  return absl::FailedPreconditionError("shard: the ends of the model are on another rank");
}

}  // namespace

LoadedShard::LoadedShard(ModelConfig config, ShardSpec spec, std::unique_ptr<Checkpoint> checkpoint,
                         ShardWeights weights, const LoadOptions& options)
    : config_(std::move(config)),
      spec_(std::move(spec)),
      checkpoint_(std::move(checkpoint)),
      weights_(std::move(weights)),
      options_(options),
      stream_(kernels::MakeCpuStream(*options.pool)),
      context_{options.table, stream_.get(), options.compute},
      layers_(config_.language, spec_.first_layer, weights_.layers, context_) {
  options_.progress = nullptr;
  if (weights_.ends.has_value()) {
    image_encoder_.emplace(config_, *weights_.ends, context_);
    language_ends_.emplace(config_.language, *weights_.ends, context_, layers_.activations());
  }
  CountBytes();
}

void LoadedShard::CountBytes() {
  int64_t bytes = weights_.arena.allocated_bytes();
  for (const DecoderLayerWeights& layer : weights_.layers) {
    if (layer.moe.has_value()) bytes += layer.moe->expert_memory.allocated_bytes();
  }
  if (weights_.ends.has_value()) {
    bytes += config_.language.vocab_size * config_.language.hidden_size *
             kernels::SizeOf(weights_.ends->embedding.dtype);
  }
  weight_bytes_ = bytes;
}

absl::Status LoadedShard::EncodeImage(const ImageTiles& image, Mat features, ForwardProbe* probe) {
  if (!image_encoder_.has_value()) return NoEnds();
  return image_encoder_->Encode(image, features, probe);
}

absl::Span<const int32_t> LoadedShard::experts(int64_t local_layer) const {
  TESSERA_CHECK(local_layer >= 0 && local_layer < spec_.num_layers) << "layer " << local_layer;
  const std::optional<MoeWeights>& moe = weights_.layers[static_cast<size_t>(local_layer)].moe;
  return moe.has_value() ? absl::MakeConstSpan(moe->expert_ids) : absl::Span<const int32_t>();
}

absl::StatusOr<MoeWeights*> LoadedShard::FindMoe(int64_t local_layer, int32_t expert) {
  if (local_layer < 0 || local_layer >= spec_.num_layers) {
    return absl::InvalidArgumentError(
        absl::StrCat("shard: layer ", local_layer, "; must be in 0..", spec_.num_layers - 1));
  }
  std::optional<MoeWeights>& moe = weights_.layers[static_cast<size_t>(local_layer)].moe;
  if (!moe.has_value())
    return absl::NotFoundError(absl::StrCat("shard: layer ", local_layer, " has no experts"));
  if (expert < 0 || expert >= *config_.language.n_routed_experts) {
    return absl::InvalidArgumentError(absl::StrCat("shard: expert ", expert, "; must be in 0..",
                                                   *config_.language.n_routed_experts - 1));
  }
  return &*moe;
}

absl::Status LoadedShard::LoadExpert(int64_t local_layer, int32_t expert) {
  TESSERA_ASSIGN_OR_RETURN(MoeWeights* const moe, FindMoe(local_layer, expert));
  const auto place = std::lower_bound(moe->expert_ids.begin(), moe->expert_ids.end(), expert);
  if (place != moe->expert_ids.end() && *place == expert) return absl::OkStatus();
  WeightLoader loader(*checkpoint_, options_, &weights_.arena, /*total_bytes=*/0);
  TESSERA_ASSIGN_OR_RETURN(const MlpWeights loaded,
                           LoadExpertWeights(config_.language, spec_.first_layer + local_layer,
                                             expert, loader, &moe->expert_memory));
  moe->experts.insert(moe->experts.begin() + (place - moe->expert_ids.begin()), loaded);
  moe->expert_ids.insert(place, expert);
  CountBytes();
  return absl::OkStatus();
}

absl::Status LoadedShard::DropExpert(int64_t local_layer, int32_t expert) {
  TESSERA_ASSIGN_OR_RETURN(MoeWeights* const moe, FindMoe(local_layer, expert));
  const auto place = std::lower_bound(moe->expert_ids.begin(), moe->expert_ids.end(), expert);
  if (place == moe->expert_ids.end() || *place != expert) return absl::OkStatus();
  moe->experts.erase(moe->experts.begin() + (place - moe->expert_ids.begin()));
  moe->expert_ids.erase(place);
  moe->expert_memory.Free(expert);
  CountBytes();
  return absl::OkStatus();
}

absl::Status LoadedShard::CheckSequences(absl::Span<const StepSequence> sequences,
                                         absl::Span<const PagedKv> layers) const {
  return CheckStep(config_.language, kv_layout(), sequences, layers);
}

void LoadedShard::BuildBatch(absl::Span<const StepSequence> sequences, StepBatch* batch,
                             OutputRows* outputs) const {
  BuildStepBatch(sequences, batch, outputs);
}

Mat LoadedShard::Embed(absl::Span<const StepSequence> sequences, const StepBatch& batch) {
  TESSERA_CHECK(language_ends_.has_value()) << "the shard has no embeddings";
  const Mat hidden = layers_.Residual(batch.rows());
  language_ends_->Embed(sequences, batch, hidden);
  return hidden;
}

absl::Status LoadedShard::RunLayers(const StepBatch& batch, const OutputRows* outputs,
                                    absl::Span<const PagedKv> layers, Mat* hidden,
                                    ForwardProbe* probe) {
  return layers_.RunLayers(batch, outputs, layers, hidden, probe);
}

absl::Status LoadedShard::Logits(ConstMat hidden, absl::Span<const int32_t> sequence_of,
                                 Mat logits) {
  if (!language_ends_.has_value()) return NoEnds();
  return language_ends_->Logits(hidden, sequence_of, logits);
}

void LoadedShard::ShowFinalNorm(ConstMat hidden, ForwardProbe& probe) {
  TESSERA_CHECK(language_ends_.has_value()) << "the shard has no final norm";
  language_ends_->Show(hidden, probe);
}

}  // namespace tessera::model
