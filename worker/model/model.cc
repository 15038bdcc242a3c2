#include "worker/model/model.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "worker/model/compute_context.h"
#include "worker/model/language_model.h"
#include "worker/model/load_weights.h"
#include "worker/model/projector.h"
#include "worker/model/safetensors.h"
#include "worker/model/tile_layout.h"
#include "worker/model/vision_tower.h"
#include "worker/model/weight_loader.h"

namespace tessera::model {
namespace {

using kernels::ConstMat;
using kernels::Mat;

// A picture has at most a handful of tiles; this bound only keeps products of what a caller says
// inside int64.
constexpr int64_t kMaxTilesPerSide = 1024;

class LoadedModel final : public VlModel {
 public:
  LoadedModel(ModelConfig config, std::unique_ptr<Checkpoint> checkpoint, ModelWeights weights,
              const LoadOptions& options)
      : config_(std::move(config)),
        checkpoint_(std::move(checkpoint)),
        weights_(std::move(weights)),
        stream_(kernels::MakeCpuStream(*options.pool)),
        context_{options.table, stream_.get(), options.compute},
        vision_tower_(config_.vision, weights_.vision, context_),
        projector_(config_.projector, config_.vision.grid(), weights_.projector, context_),
        language_model_(config_.language, weights_.language, context_) {}

  const ModelConfig& config() const override { return config_; }
  KvLayout kv_layout() const override { return language_model_.kv_layout(); }

  int64_t weight_bytes() const override {
    const int64_t embedding = config_.language.vocab_size * config_.language.hidden_size *
                              kernels::SizeOf(weights_.language.embedding.dtype);
    return weights_.arena.allocated_bytes() + embedding;
  }

  int64_t NumImageTokens(int64_t tiles_across, int64_t tiles_down) const override {
    return Layout(tiles_across, tiles_down).num_rows();
  }

  absl::Status EncodeImage(const ImageTiles& image, Mat features, ForwardProbe* probe) override;

  absl::Status Forward(absl::Span<const StepSequence> sequences,
                       absl::Span<const kernels::PagedKv> layers, Mat logits,
                       ForwardProbe* probe) override {
    return language_model_.Forward(sequences, layers, logits, probe);
  }

 private:
  TileLayout Layout(int64_t tiles_across, int64_t tiles_down) const {
    return {projector_.side(), tiles_across, tiles_down, config_.global_view_first};
  }
  absl::Status CheckImage(const ImageTiles& image, ConstMat features) const;

  ModelConfig config_;
  std::unique_ptr<Checkpoint> checkpoint_;  // holds the embedding table
  ModelWeights weights_;
  std::unique_ptr<kernels::Stream> stream_;
  ComputeContext context_;
  VisionTower vision_tower_;
  Projector projector_;
  LanguageModel language_model_;
  ScratchMat patches_;
};

absl::Status LoadedModel::CheckImage(const ImageTiles& image, ConstMat features) const {
  const auto in_range = [](int64_t tiles) { return tiles >= 1 && tiles <= kMaxTilesPerSide; };
  if (!in_range(image.tiles_across) || !in_range(image.tiles_down)) {
    return absl::InvalidArgumentError(
        absl::StrCat("image: grid is ", image.tiles_across, " x ", image.tiles_down,
                     " tiles; each side must be in 1..", kMaxTilesPerSide));
  }
  const int64_t tiles = 1 + image.tiles_across * image.tiles_down;
  if (image.num_tiles != tiles) {
    return absl::InvalidArgumentError(
        absl::StrCat("image: ", image.num_tiles, " tiles; the grid asks for ", tiles));
  }
  const int64_t bytes = tiles * 3 * config_.vision.image_size * config_.vision.image_size;
  if (static_cast<int64_t>(image.pixels.size()) != bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("image: ", image.pixels.size(), " bytes of pixels; its tiles need ", bytes));
  }
  const int64_t rows = NumImageTokens(image.tiles_across, image.tiles_down);
  if (features.rows != rows || features.cols != config_.language.hidden_size) {
    return absl::InvalidArgumentError(absl::StrCat("image: features are [", features.rows, ", ",
                                                   features.cols, "]; must be [", rows, ", ",
                                                   config_.language.hidden_size, "]"));
  }
  return absl::OkStatus();
}

absl::Status LoadedModel::EncodeImage(const ImageTiles& image, Mat features, ForwardProbe* probe) {
  TESSERA_RETURN_IF_ERROR(CheckImage(image, features));
  const Mat patches =
      patches_.Get(image.num_tiles * config_.vision.patches(), config_.vision.width);
  vision_tower_.Forward(image.pixels.data(), image.num_tiles, patches);
  if (probe != nullptr) probe->OnVisionOutput(patches);
  const ConstMat projected = projector_.Forward(patches, image.num_tiles);
  if (probe != nullptr) probe->OnProjectorOutput(projected);
  ArrangeTiles(Layout(image.tiles_across, image.tiles_down), projected,
               weights_.projector.image_newline.data(), weights_.projector.view_separator.data(),
               features);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<VlModel>> VlModel::Load(const std::string& model_dir,
                                                       const LoadOptions& options) {
  if (options.table == nullptr || options.pool == nullptr) {
    return absl::InvalidArgumentError("load options: table and pool must be set");
  }
  TESSERA_ASSIGN_OR_RETURN(ModelConfig config, ReadModelConfig(model_dir));
  TESSERA_ASSIGN_OR_RETURN(std::unique_ptr<Checkpoint> checkpoint, Checkpoint::Open(model_dir));
  ModelWeights weights;
  WeightLoader loader(*checkpoint, options, &weights.arena);
  TESSERA_ASSIGN_OR_RETURN(weights.vision, LoadVisionWeights(config.vision, loader));
  TESSERA_ASSIGN_OR_RETURN(weights.projector, LoadProjectorWeights(config.projector, loader));
  TESSERA_ASSIGN_OR_RETURN(weights.language, LoadLanguageWeights(config.language, loader));
  loader.ReportDone();
  return std::make_unique<LoadedModel>(std::move(config), std::move(checkpoint), std::move(weights),
                                       options);
}

}  // namespace tessera::model
