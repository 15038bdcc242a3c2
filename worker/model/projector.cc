#include "worker/model/projector.h"

#include <utility>

namespace tessera::model {

using kernels::ConstMat;
using kernels::Mat;

Projector::Projector(const ProjectorConfig& config, int64_t grid, const ProjectorWeights& weights,
                     const ComputeContext& context)
    : config_(config), grid_(grid), weights_(weights), context_(context) {}

ConstMat Projector::Forward(ConstMat patches, int64_t num_tiles) {
  const int64_t ratio = config_.downsample_ratio;
  const int64_t rows = num_tiles * side() * side();
  ScratchMat* input = &ping_;
  ScratchMat* output = &pong_;
  Mat x = input->Get(rows, config_.input_dim * ratio * ratio);
  context_.table->space_to_depth(*context_.stream, num_tiles, grid_, ratio, patches, x);
  for (size_t i = 0; i < weights_.layers.size(); ++i) {
    const LinearWeights& layer = weights_.layers[i];
    if (i > 0) context_.table->gelu_erf(*context_.stream, x);
    const Mat y = output->Get(rows, layer.weight.n);
    const kernels::GemmItem item{x, nullptr, &layer.weight, layer.bias_data(), y};
    context_.table->gemm(*context_.stream, context_.compute, &item, 1);
    std::swap(input, output);
    x = y;
  }
  return x;
}

}  // namespace tessera::model
