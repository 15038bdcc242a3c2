// Multi-head and grouped-query attention with half-split rotary positions (Llama's).
#include "worker/model/attention.h"
#include "worker/model/rotary.h"

namespace tessera::model {
namespace {

using kernels::ConstMat;
using kernels::Mat;
using kernels::PagedKv;

class MhaAttention final : public Attention {
 public:
  MhaAttention(const LanguageConfig& config, const MhaWeights& weights,
               const ComputeContext& context, kernels::RopeTable rope, Activations* activations)
      : shape_{config.num_attention_heads, config.num_key_value_heads, config.head_dim(),
               SoftmaxScale(config)},
        weights_(weights),
        context_(context),
        rope_(rope),
        activations_(activations) {}

  Mat Project(const StepBatch& batch, ConstMat x, PagedKv kv) override {
    const int64_t q_cols = shape_.num_heads * shape_.head_dim;
    const int64_t kv_cols = shape_.num_kv_heads * shape_.head_dim;
    const Mat qkv = activations_->projected.Get(batch.rows(), q_cols + 2 * kv_cols);
    const kernels::GemmItem item{x, nullptr, &weights_.qkv.weight, weights_.qkv.bias_data(), qkv};
    context_.table->gemm(*context_.stream, context_.compute, &item, 1);
    // q and k lie side by side: one rotation over the heads of both.
    context_.table->rope_half(*context_.stream, rope_, batch.positions.data(),
                              shape_.num_heads + shape_.num_kv_heads, shape_.head_dim, 0,
                              qkv.columns(0, q_cols + kv_cols));
    context_.table->kv_write_mha(*context_.stream, shape_, batch.sequences.data(),
                                 static_cast<int64_t>(batch.sequences.size()),
                                 qkv.columns(q_cols, kv_cols),
                                 qkv.columns(q_cols + kv_cols, kv_cols), kv);
    return qkv.columns(0, q_cols);
  }

  void Attend(const StepBatch& batch, Mat queries, PagedKv kv, Mat out) override {
    const Mat attended =
        activations_->attended.Get(batch.rows(), shape_.num_heads * shape_.head_dim);
    context_.table->attention_mha(*context_.stream, shape_, batch.sequences.data(),
                                  static_cast<int64_t>(batch.sequences.size()), queries, kv,
                                  attended);
    const kernels::GemmItem item{attended, nullptr, &weights_.o.weight, weights_.o.bias_data(),
                                 out};
    context_.table->gemm(*context_.stream, context_.compute, &item, 1);
  }

 private:
  kernels::MhaShape shape_;
  const MhaWeights& weights_;
  ComputeContext context_;
  kernels::RopeTable rope_;
  Activations* activations_;
};

}  // namespace

std::unique_ptr<Attention> MakeMhaAttention(const LanguageConfig& config, const MhaWeights& weights,
                                            const ComputeContext& context, kernels::RopeTable rope,
                                            Activations* activations) {
  return std::make_unique<MhaAttention>(config, weights, context, rope, activations);
}

}  // namespace tessera::model
