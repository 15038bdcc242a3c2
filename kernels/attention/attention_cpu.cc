#include "kernels/attention/causal_driver.h"
#include "kernels/check.h"
#include "kernels/ops.h"
#include TESSERA_SIMD_HEADER

namespace tessera::kernels::TESSERA_ISA {
namespace {

void CopyScaled(const float* in, int64_t count, float scale, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = in[i] * scale;
}

}  // namespace

void AttentionMha(Stream& stream, const MhaShape& shape, const SequenceRows* sequences,
                  int64_t num_sequences, ConstMat q, PagedKv kv, Mat out) {
  CheckMha(shape, kv);
  KERNEL_CHECK(q.cols == shape.num_heads * shape.head_dim && out.cols == q.cols);
  CheckSequences(sequences, num_sequences, q.rows < out.rows ? q.rows : out.rows);
  const int64_t dim = shape.head_dim;
  const int64_t block_head = kv.block_size_tokens * dim;
  const CausalShape causal{dim, dim, shape.num_kv_heads, shape.num_heads / shape.num_kv_heads,
                           false};
  RunCausal<Simd>(
      stream, causal, sequences, num_sequences, kv,
      [&](int64_t row, int64_t head, float* query) {
        CopyScaled(q.row(row) + head * dim, dim, shape.softmax_scale, query);
      },
      [&](int64_t kv_head) {
        return HeadLayout{kv_head * block_head, (shape.num_kv_heads + kv_head) * block_head, dim};
      },
      [&](int64_t row, int64_t head, const float* result) {
        __builtin_memcpy(out.row(row) + head * dim, result, dim * sizeof(float));
      });
}

void AttentionMla(Stream& stream, const MlaShape& shape, const SequenceRows* sequences,
                  int64_t num_sequences, ConstMat q_latent, ConstMat q_rope, PagedKv kv,
                  Mat out_latent) {
  CheckMla(shape, kv);
  const int64_t latent = shape.latent_dim;
  KERNEL_CHECK(q_latent.cols == shape.num_heads * latent);
  KERNEL_CHECK(q_rope.cols == shape.num_heads * shape.rope_dim);
  KERNEL_CHECK(out_latent.cols == q_latent.cols && q_latent.rows == q_rope.rows);
  CheckSequences(sequences, num_sequences,
                 q_latent.rows < out_latent.rows ? q_latent.rows : out_latent.rows);
  const int64_t width = latent + shape.rope_dim;
  const CausalShape causal{width, latent, 1, shape.num_heads, true};
  RunCausal<Simd>(
      stream, causal, sequences, num_sequences, kv,
      [&](int64_t row, int64_t head, float* query) {
        CopyScaled(q_latent.row(row) + head * latent, latent, shape.softmax_scale, query);
        CopyScaled(q_rope.row(row) + head * shape.rope_dim, shape.rope_dim, shape.softmax_scale,
                   query + latent);
      },
      [&](int64_t) {
        return HeadLayout{0, 0, width};
      },
      [&](int64_t row, int64_t head, const float* result) {
        __builtin_memcpy(out_latent.row(row) + head * latent, result, latent * sizeof(float));
      });
}

}  // namespace tessera::kernels::TESSERA_ISA
