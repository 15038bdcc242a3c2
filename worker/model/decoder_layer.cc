#include "worker/model/decoder_layer.h"

#include "services/base/status_macros.h"
#include "worker/model/mlp.h"

namespace tessera::model {

using kernels::Mat;
using kernels::PagedKv;

DecoderLayer::DecoderLayer(const LanguageConfig& config, int64_t local_layer,
                           const DecoderLayerWeights& weights, const ComputeContext& context,
                           kernels::RopeTable rope, Activations* activations)
    : local_layer_(local_layer),
      weights_(weights),
      context_(context),
      eps_(static_cast<float>(config.rms_norm_eps)),
      activations_(activations),
      attention_(weights.mla.has_value()
                     ? MakeMlaAttention(config, *weights.mla, context, rope, activations)
                     : MakeMhaAttention(config, *weights.mha, context, rope, activations)) {
  if (weights.moe.has_value())
    moe_ = std::make_unique<MoeLayer>(config, local_layer, *weights.moe, context, activations);
}

absl::Status DecoderLayer::Forward(const StepBatch& batch, const OutputRows* outputs, PagedKv kv,
                                   ExpertDispatch& dispatch, KvObserver* observer, Mat* hidden) {
  if (hidden->rows > 0) Attend(batch, outputs, kv, observer, hidden);
  if (hidden->rows == 0 && (moe_ == nullptr || !dispatch.collective())) return absl::OkStatus();

  const Mat mlp_in = activations_->normed.Get(hidden->rows, hidden->cols);
  const Mat branch = activations_->branch.Get(hidden->rows, hidden->cols);
  if (hidden->rows > 0) {
    context_.table->rms_norm(*context_.stream, *hidden, weights_.post_attention_norm.data(), eps_,
                             mlp_in);
  }
  if (moe_ != nullptr) {
    TESSERA_RETURN_IF_ERROR(moe_->Forward(dispatch, mlp_in, branch));
  } else {
    ApplyMlp(context_, *weights_.mlp, mlp_in, activations_, branch);
  }
  if (hidden->rows > 0) context_.table->add(*context_.stream, branch, *hidden);
  return absl::OkStatus();
}

// Norm, attention, residual. Leaves the rows that go on in *hidden, maybe none.
void DecoderLayer::Attend(const StepBatch& batch, const OutputRows* outputs, PagedKv kv,
                          KvObserver* observer, Mat* hidden) {
  const Mat attention_in = activations_->normed.Get(hidden->rows, hidden->cols);
  context_.table->rms_norm(*context_.stream, *hidden, weights_.input_norm.data(), eps_,
                           attention_in);
  Mat queries = attention_->Project(batch, attention_in, kv);
  if (observer != nullptr) observer->OnKvWritten(local_layer_);

  if (outputs != nullptr) {
    *hidden = KeepRows(outputs->rows, *hidden);
    queries = KeepRows(outputs->rows, queries);
    if (outputs->rows.empty()) return;
  }
  const StepBatch& kept = outputs == nullptr ? batch : outputs->batch;
  const Mat branch = activations_->branch.Get(hidden->rows, hidden->cols);
  attention_->Attend(kept, queries, kv, branch);
  context_.table->add(*context_.stream, branch, *hidden);
}

}  // namespace tessera::model
