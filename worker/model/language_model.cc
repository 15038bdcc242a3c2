#include "worker/model/language_model.h"

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"

namespace tessera::model {

using kernels::ConstMat;
using kernels::Mat;
using kernels::PagedKv;

LanguageModel::LanguageModel(const LanguageConfig& config, int64_t first_layer,
                             const std::vector<DecoderLayerWeights>& weights,
                             const ComputeContext& context)
    : config_(config),
      first_layer_(first_layer),
      weights_(weights),
      context_(context),
      rotary_(config),
      local_dispatch_(context, config.n_routed_experts.value_or(0)) {
  layers_.reserve(weights.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    layers_.emplace_back(config, static_cast<int64_t>(i), weights[i], context, rotary_.view(),
                         &activations_);
  }
}

KvLayout LanguageModel::kv_layout() const {
  KvLayout layout;
  layout.dtype =
      context_.compute == kernels::Compute::kF32 ? kernels::DType::kF32 : kernels::DType::kBF16;
  layout.num_layers = static_cast<int64_t>(layers_.size());
  layout.row_elements = config_.use_mla ? config_.kv_lora_rank + config_.qk_rope_head_dim
                                        : 2 * config_.num_key_value_heads * config_.head_dim();
  return layout;
}

absl::Status LanguageModel::CheckRun(const StepBatch& batch, absl::Span<const PagedKv> layers,
                                     ConstMat hidden) const {
  if (layers.size() != layers_.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("step: pages of ", layers.size(), " layers; the shard has ", layers_.size()));
  }
  if (hidden.rows != batch.rows() || hidden.cols != config_.hidden_size) {
    return absl::InvalidArgumentError(absl::StrCat("step: hidden is [", hidden.rows, ", ",
                                                   hidden.cols, "]; must be [", batch.rows(), ", ",
                                                   config_.hidden_size, "]"));
  }
  if (dispatch_ != nullptr) {
    if (dispatch_->collective() && batch.rows() > kMaxCollectiveRows) {
      return absl::InvalidArgumentError(
          absl::StrCat("step: ", batch.rows(), " rows; ranks that share experts take at most ",
                       kMaxCollectiveRows, " at a time"));
    }
    return absl::OkStatus();
  }
  for (size_t i = 0; i < weights_.size(); ++i) {
    if (!weights_[i].moe.has_value()) continue;
    const auto held = static_cast<int64_t>(weights_[i].moe->experts.size());
    if (held != *config_.n_routed_experts) {
      return absl::FailedPreconditionError(absl::StrCat(
          "step: layer ", first_layer_ + static_cast<int64_t>(i), " holds ", held, " of ",
          *config_.n_routed_experts, " experts, and no dispatch leads to the others"));
    }
  }
  return absl::OkStatus();
}

absl::Status LanguageModel::RunLayers(const StepBatch& batch, const OutputRows* outputs,
                                      absl::Span<const PagedKv> layers, Mat* hidden,
                                      ForwardProbe* probe) {
  TESSERA_RETURN_IF_ERROR(CheckRun(batch, layers, *hidden));
  ExpertDispatch& dispatch = dispatch_ == nullptr ? local_dispatch_ : *dispatch_;
  for (size_t i = 0; i < layers_.size(); ++i) {
    const bool is_last = i + 1 == layers_.size();
    TESSERA_RETURN_IF_ERROR(layers_[i].Forward(batch, is_last ? outputs : nullptr, layers[i],
                                               dispatch, observer_, hidden));
    if (probe == nullptr) continue;
    const int64_t layer = first_layer_ + static_cast<int64_t>(i);
    if (layers_[i].is_moe()) {
      probe->OnRouter(layer, activations_.expert_ids, activations_.expert_weights);
    }
    probe->OnLayerOutput(layer, *hidden);
  }
  return absl::OkStatus();
}

}  // namespace tessera::model
