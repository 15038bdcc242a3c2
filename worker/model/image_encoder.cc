#include "worker/model/image_encoder.h"

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"

namespace tessera::model {

using kernels::ConstMat;
using kernels::Mat;

namespace {

// A picture has at most a handful of tiles; this bound only keeps products of what a caller says
// inside int64.
constexpr int64_t kMaxTilesPerSide = 1024;

}  // namespace

TileLayout LayoutOfImage(const ModelConfig& config, int64_t tiles_across, int64_t tiles_down) {
  const int64_t side = Projector::Side(config.projector, config.vision.grid());
  return {side, tiles_across, tiles_down, config.global_view_first};
}

ImageEncoder::ImageEncoder(const ModelConfig& config, const EndWeights& weights,
                           const ComputeContext& context)
    : config_(config),
      projector_weights_(weights.projector),
      vision_tower_(config.vision, weights.vision, context),
      projector_(config.projector, config.vision.grid(), weights.projector, context) {}

absl::Status ImageEncoder::Check(const ImageTiles& image, ConstMat features) const {
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
  const int64_t rows = LayoutOfImage(config_, image.tiles_across, image.tiles_down).num_rows();
  if (features.rows != rows || features.cols != config_.language.hidden_size) {
    return absl::InvalidArgumentError(absl::StrCat("image: features are [", features.rows, ", ",
                                                   features.cols, "]; must be [", rows, ", ",
                                                   config_.language.hidden_size, "]"));
  }
  return absl::OkStatus();
}

absl::Status ImageEncoder::Encode(const ImageTiles& image, Mat features, ForwardProbe* probe) {
  TESSERA_RETURN_IF_ERROR(Check(image, features));
  const Mat patches =
      patches_.Get(image.num_tiles * config_.vision.patches(), config_.vision.width);
  vision_tower_.Forward(image.pixels.data(), image.num_tiles, patches);
  if (probe != nullptr) probe->OnVisionOutput(patches);
  const ConstMat projected = projector_.Forward(patches, image.num_tiles);
  if (probe != nullptr) probe->OnProjectorOutput(projected);
  ArrangeTiles(LayoutOfImage(config_, image.tiles_across, image.tiles_down), projected,
               projector_weights_.image_newline.data(), projector_weights_.view_separator.data(),
               features);
  return absl::OkStatus();
}

}  // namespace tessera::model
