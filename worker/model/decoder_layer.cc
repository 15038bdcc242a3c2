#include "worker/model/decoder_layer.h"

#include <algorithm>
#include <utility>

#include "services/base/status_macros.h"
#include "worker/model/mlp.h"

namespace tessera::model {
namespace {

using kernels::Mat;
using kernels::PagedKv;

// Moves the named rows, which ascend, to the front.
Mat KeepRows(const std::vector<int32_t>& rows, Mat matrix) {
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] != static_cast<int32_t>(i))
      std::copy_n(matrix.row(rows[i]), matrix.cols, matrix.row(static_cast<int64_t>(i)));
  }
  return matrix.row_range(0, static_cast<int64_t>(rows.size()));
}

}  // namespace

DecoderLayer::DecoderLayer(const LanguageConfig& config, const DecoderLayerWeights& weights,
                           const ComputeContext& context, kernels::RopeTable rope,
                           ExpertDispatch* dispatch, Activations* activations)
    : weights_(weights),
      context_(context),
      eps_(static_cast<float>(config.rms_norm_eps)),
      activations_(activations),
      attention_(weights.mla.has_value()
                     ? MakeMlaAttention(config, *weights.mla, context, rope, activations)
                     : MakeMhaAttention(config, *weights.mha, context, rope, activations)) {
  if (weights.moe.has_value())
    moe_ = std::make_unique<MoeLayer>(config, *weights.moe, context, dispatch, activations);
}

absl::Status DecoderLayer::Forward(const StepBatch& batch, const OutputRows* outputs, PagedKv kv,
                                   Mat* hidden) {
  const Mat attention_in = activations_->normed.Get(hidden->rows, hidden->cols);
  context_.table->rms_norm(*context_.stream, *hidden, weights_.input_norm.data(), eps_,
                           attention_in);
  Mat queries = attention_->Project(batch, attention_in, kv);

  if (outputs != nullptr) {
    *hidden = KeepRows(outputs->rows, *hidden);
    queries = KeepRows(outputs->rows, queries);
    if (outputs->rows.empty()) return absl::OkStatus();
  }
  const StepBatch& kept = outputs == nullptr ? batch : outputs->batch;
  const Mat branch = activations_->branch.Get(hidden->rows, hidden->cols);
  attention_->Attend(kept, queries, kv, branch);
  context_.table->add(*context_.stream, branch, *hidden);

  const Mat mlp_in = activations_->normed.Get(hidden->rows, hidden->cols);
  context_.table->rms_norm(*context_.stream, *hidden, weights_.post_attention_norm.data(), eps_,
                           mlp_in);
  if (moe_ != nullptr) {
    TESSERA_RETURN_IF_ERROR(moe_->Forward(mlp_in, branch));
  } else {
    ApplyMlp(context_, *weights_.mlp, mlp_in, activations_, branch);
  }
  context_.table->add(*context_.stream, branch, *hidden);
  return absl::OkStatus();
}

}  // namespace tessera::model
