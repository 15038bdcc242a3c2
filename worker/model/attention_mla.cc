// Multi-head latent attention in its absorbed form. The cache holds the normed latent and the
// rotated shared key of a token; w_uk is applied to the query and w_uv to the attended latent, so K
// and V of the heads never exist.
//
// One form for prompt and generated tokens: the expanded form would need less arithmetic in long
// prefills, but rounds differently, and then a token's bits would depend on the role it had when it
// was first computed (a failover replays generated tokens as a prompt).
#include "worker/model/attention.h"
#include "worker/model/rotary.h"

namespace tessera::model {
namespace {

using kernels::ConstMat;
using kernels::GemmItem;
using kernels::Mat;
using kernels::PagedKv;

// The norms of compressed rows keep this eps whatever rms_norm_eps says.
constexpr float kLatentNormEps = 1e-6f;

class MlaAttention final : public Attention {
 public:
  MlaAttention(const LanguageConfig& config, const MlaWeights& weights,
               const ComputeContext& context, kernels::RopeTable rope, Activations* activations)
      : shape_{config.num_attention_heads, config.kv_lora_rank, config.qk_rope_head_dim,
               SoftmaxScale(config)},
        nope_(config.qk_nope_head_dim),
        v_dim_(config.v_head_dim),
        weights_(weights),
        context_(context),
        rope_(rope),
        activations_(activations),
        items_(static_cast<size_t>(config.num_attention_heads)) {}

  Mat Project(const StepBatch& batch, ConstMat x, PagedKv kv) override {
    const Mat down = activations_->projected.Get(batch.rows(), weights_.down.weight.n);
    Gemm({x, nullptr, &weights_.down.weight, weights_.down.bias_data(), down});
    const int64_t query_cols = weights_.down.weight.n - shape_.latent_dim - shape_.rope_dim;
    WriteKv(batch, down.columns(query_cols, shape_.latent_dim + shape_.rope_dim), kv);
    const Mat queries = Queries(down.columns(0, query_cols));
    const Mat q_rope =
        queries.columns(shape_.num_heads * nope_, shape_.num_heads * shape_.rope_dim);
    context_.table->rope_interleaved(*context_.stream, rope_, batch.positions.data(),
                                     shape_.num_heads, shape_.rope_dim, 0, q_rope);
    return queries;
  }

  void Attend(const StepBatch& batch, Mat queries, PagedKv kv, Mat out) override {
    const int64_t heads = shape_.num_heads;
    const int64_t latent = shape_.latent_dim;
    const Mat q_latent = activations_->query_latent.Get(batch.rows(), heads * latent);
    for (int64_t h = 0; h < heads; ++h) {
      items_[h] = {queries.columns(h * nope_, nope_), nullptr, &weights_.w_uk[h], nullptr,
                   q_latent.columns(h * latent, latent)};
    }
    context_.table->gemm(*context_.stream, context_.compute, items_.data(), heads);

    const Mat out_latent = activations_->out_latent.Get(batch.rows(), heads * latent);
    context_.table->attention_mla(*context_.stream, shape_, batch.sequences.data(),
                                  static_cast<int64_t>(batch.sequences.size()), q_latent,
                                  queries.columns(heads * nope_, heads * shape_.rope_dim), kv,
                                  out_latent);

    const Mat attended = activations_->attended.Get(batch.rows(), heads * v_dim_);
    for (int64_t h = 0; h < heads; ++h) {
      items_[h] = {out_latent.columns(h * latent, latent), nullptr, &weights_.w_uv[h], nullptr,
                   attended.columns(h * v_dim_, v_dim_)};
    }
    context_.table->gemm(*context_.stream, context_.compute, items_.data(), heads);
    Gemm({attended, nullptr, &weights_.o.weight, weights_.o.bias_data(), out});
  }

 private:
  void Gemm(const GemmItem& item) {
    context_.table->gemm(*context_.stream, context_.compute, &item, 1);
  }

  void WriteKv(const StepBatch& batch, Mat latent_and_rope, PagedKv kv) {
    const Mat latent = latent_and_rope.columns(0, shape_.latent_dim);
    const Mat k_rope = latent_and_rope.columns(shape_.latent_dim, shape_.rope_dim);
    context_.table->rms_norm(*context_.stream, latent, weights_.kv_a_norm.data(), kLatentNormEps,
                             latent);
    context_.table->rope_interleaved(*context_.stream, rope_, batch.positions.data(), 1,
                                     shape_.rope_dim, 0, k_rope);
    context_.table->kv_write_mla(*context_.stream, shape_, batch.sequences.data(),
                                 static_cast<int64_t>(batch.sequences.size()), latent, k_rope, kv);
  }

  // [rows, heads * nope | heads * rope]
  Mat Queries(Mat down) {
    if (weights_.q_a_norm.empty()) return down;
    context_.table->rms_norm(*context_.stream, down, weights_.q_a_norm.data(), kLatentNormEps,
                             down);
    const Mat queries = activations_->queries.Get(down.rows, weights_.q_b.n);
    Gemm({down, nullptr, &weights_.q_b, nullptr, queries});
    return queries;
  }

  kernels::MlaShape shape_;
  int64_t nope_;
  int64_t v_dim_;
  const MlaWeights& weights_;
  ComputeContext context_;
  kernels::RopeTable rope_;
  Activations* activations_;
  std::vector<GemmItem> items_;
};

}  // namespace

std::unique_ptr<Attention> MakeMlaAttention(const LanguageConfig& config, const MlaWeights& weights,
                                            const ComputeContext& context, kernels::RopeTable rope,
                                            Activations* activations) {
  return std::make_unique<MlaAttention>(config, weights, context, rope, activations);
}

}  // namespace tessera::model
