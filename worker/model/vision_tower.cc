#include "worker/model/vision_tower.h"

#include <algorithm>
#include <cmath>

namespace tessera::model {
namespace {

using kernels::ConstMat;
using kernels::Mat;

constexpr float kLayerNormEps = 1e-6f;
// Enough rows to fill the GEMM; more would only grow the activations.
constexpr int64_t kTilesPerSlice = 4;

}  // namespace

VisionTower::VisionTower(const VisionConfig& config, const VisionWeights& weights,
                         const ComputeContext& context)
    : config_(config), weights_(weights), context_(context) {}

void VisionTower::Linear(const LinearWeights& linear, ConstMat x, Mat y) {
  const kernels::GemmItem item{x, nullptr, &linear.weight, linear.bias_data(), y};
  context_.table->gemm(*context_.stream, context_.compute, &item, 1);
}

void VisionTower::Forward(const uint8_t* tiles, int64_t num_tiles, Mat out) {
  const int64_t tile_bytes = 3 * config_.image_size * config_.image_size;
  const int64_t patches = config_.patches();
  for (int64_t first = 0; first < num_tiles; first += kTilesPerSlice) {
    const int64_t count = std::min(kTilesPerSlice, num_tiles - first);
    ForwardSlice(tiles + first * tile_bytes, count,
                 out.row_range(first * patches, count * patches));
  }
}

void VisionTower::ForwardSlice(const uint8_t* tiles, int64_t num_tiles, Mat hidden) {
  EmbedPatches(tiles, num_tiles, hidden);
  for (const VisionBlockWeights& block : weights_.blocks) {
    Attention(block, hidden);
    Mlp(block, hidden);
  }
  context_.table->layer_norm(*context_.stream, hidden, weights_.norm.gamma.data(),
                             weights_.norm.beta.data(), kLayerNormEps, hidden);
}

void VisionTower::EmbedPatches(const uint8_t* tiles, int64_t num_tiles, Mat hidden) {
  const int64_t patches = config_.patches();
  const Mat pixels = wide_.Get(num_tiles * patches, 3 * config_.patch_size * config_.patch_size);
  context_.table->patchify(*context_.stream, tiles, num_tiles, config_.image_size,
                           config_.patch_size, pixels);
  Linear(weights_.patch_embed, pixels, hidden);
  const ConstMat positions{weights_.pos_embed.data(), patches, config_.width, config_.width};
  for (int64_t tile = 0; tile < num_tiles; ++tile) {
    context_.table->add(*context_.stream, positions, hidden.row_range(tile * patches, patches));
  }
}

void VisionTower::Attention(const VisionBlockWeights& block, Mat hidden) {
  const Mat normed = normed_.Get(hidden.rows, config_.width);
  const Mat qkv = wide_.Get(hidden.rows, 3 * config_.width);
  const Mat attended = attended_.Get(hidden.rows, config_.width);
  const Mat branch = branch_.Get(hidden.rows, config_.width);
  const int64_t head_dim = config_.width / config_.heads;
  context_.table->layer_norm(*context_.stream, hidden, block.norm1.gamma.data(),
                             block.norm1.beta.data(), kLayerNormEps, normed);
  Linear(block.qkv, normed, qkv);
  context_.table->attention_full(*context_.stream, config_.patches(), config_.heads, head_dim,
                                 1.0f / std::sqrt(static_cast<float>(head_dim)), qkv, attended);
  Linear(block.proj, attended, branch);
  context_.table->add(*context_.stream, branch, hidden);
}

void VisionTower::Mlp(const VisionBlockWeights& block, Mat hidden) {
  const Mat normed = normed_.Get(hidden.rows, config_.width);
  const Mat wide = wide_.Get(hidden.rows, config_.mlp_width());
  const Mat branch = branch_.Get(hidden.rows, config_.width);
  context_.table->layer_norm(*context_.stream, hidden, block.norm2.gamma.data(),
                             block.norm2.beta.data(), kLayerNormEps, normed);
  Linear(block.fc1, normed, wide);
  context_.table->gelu_tanh(*context_.stream, wide);
  Linear(block.fc2, wide, branch);
  context_.table->add(*context_.stream, branch, hidden);
}

}  // namespace tessera::model
