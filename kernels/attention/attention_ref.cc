// Attention written as its definition: scores of one (row, head), softmax in two passes, weighted
// sum. Sums in double precision, so that the fast tables have an oracle.
#include <cmath>

#include "kernels/attention/paged_kv.h"
#include "kernels/check.h"
#include "kernels/cpu_stream.h"
#include "kernels/ops.h"

namespace tessera::kernels::TESSERA_ISA {
namespace {

// scores[0, count) → softmax in place.
void Softmax(double* scores, int64_t count) {
  double max = scores[0];
  for (int64_t i = 1; i < count; ++i) max = scores[i] > max ? scores[i] : max;
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    scores[i] = std::exp(scores[i] - max);
    sum += scores[i];
  }
  for (int64_t i = 0; i < count; ++i) scores[i] /= sum;
}

// One (row, head): key(i, d) and value(i, d) read element d of position i.
template <typename Score, typename Value>
void Attend(int64_t count, int64_t value_dim, const Score& score, const Value& value,
            double* scores, float* out) {
  for (int64_t i = 0; i < count; ++i) scores[i] = score(i);
  Softmax(scores, count);
  for (int64_t d = 0; d < value_dim; ++d) {
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += scores[i] * value(i, d);
    out[d] = static_cast<float>(sum);
  }
}

int64_t LongestContext(const SequenceRows* sequences, int64_t num_sequences) {
  int64_t longest = 0;
  for (int64_t s = 0; s < num_sequences; ++s) {
    const int64_t context = sequences[s].first_position + sequences[s].num_rows;
    if (sequences[s].num_rows > 0 && context > longest) longest = context;
  }
  return longest;
}

double* ScoreScratch(Stream& stream, int64_t per_thread) {
  const int64_t bytes = StreamThreads(stream) * per_thread * static_cast<int64_t>(sizeof(double));
  return static_cast<double*>(StreamScratch(stream, ScratchSlot::kThread, bytes));
}

}  // namespace

void AttentionMha(Stream& stream, const MhaShape& shape, const SequenceRows* sequences,
                  int64_t num_sequences, ConstMat q, PagedKv kv, Mat out) {
  CheckMha(shape, kv);
  KERNEL_CHECK(q.cols == shape.num_heads * shape.head_dim && out.cols == q.cols);
  CheckSequences(sequences, num_sequences, q.rows < out.rows ? q.rows : out.rows);
  const int64_t longest = LongestContext(sequences, num_sequences);
  double* scratch = ScoreScratch(stream, longest);
  const int64_t group = shape.num_heads / shape.num_kv_heads;
  for (int64_t s = 0; s < num_sequences; ++s) {
    const SequenceRows& sequence = sequences[s];
    ParallelUnits(stream, sequence.num_rows * shape.num_heads, [&](int64_t unit, int worker) {
      const int64_t r = unit / shape.num_heads;
      const int64_t h = unit % shape.num_heads;
      const int64_t row = sequence.first_row + r;
      const float* query = q.row(row) + h * shape.head_dim;
      const auto score = [&](int64_t i) {
        const char* block = BlockOf(kv, sequence, i);
        const int64_t index = KeyIndex(shape, kv, h / group, i);
        double sum = 0;
        for (int64_t d = 0; d < shape.head_dim; ++d) {
          sum += double{query[d]} * LoadElement(block, kv.dtype, index + d);
        }
        return sum * shape.softmax_scale;
      };
      const auto value = [&](int64_t i, int64_t d) {
        return LoadElement(BlockOf(kv, sequence, i), kv.dtype,
                           ValueIndex(shape, kv, h / group, i) + d);
      };
      Attend(sequence.first_position + r + 1, shape.head_dim, score, value,
             scratch + worker * longest, out.row(row) + h * shape.head_dim);
    });
  }
}

void AttentionMla(Stream& stream, const MlaShape& shape, const SequenceRows* sequences,
                  int64_t num_sequences, ConstMat q_latent, ConstMat q_rope, PagedKv kv,
                  Mat out_latent) {
  CheckMla(shape, kv);
  KERNEL_CHECK(q_latent.cols == shape.num_heads * shape.latent_dim);
  KERNEL_CHECK(q_rope.cols == shape.num_heads * shape.rope_dim);
  KERNEL_CHECK(out_latent.cols == q_latent.cols && q_latent.rows == q_rope.rows);
  CheckSequences(sequences, num_sequences,
                 q_latent.rows < out_latent.rows ? q_latent.rows : out_latent.rows);
  const int64_t longest = LongestContext(sequences, num_sequences);
  double* scratch = ScoreScratch(stream, longest);
  const int64_t width = shape.latent_dim + shape.rope_dim;
  for (int64_t s = 0; s < num_sequences; ++s) {
    const SequenceRows& sequence = sequences[s];
    ParallelUnits(stream, sequence.num_rows * shape.num_heads, [&](int64_t unit, int worker) {
      const int64_t r = unit / shape.num_heads;
      const int64_t h = unit % shape.num_heads;
      const int64_t row = sequence.first_row + r;
      const float* latent = q_latent.row(row) + h * shape.latent_dim;
      const float* rope = q_rope.row(row) + h * shape.rope_dim;
      const auto element = [&](int64_t i, int64_t d) {
        return LoadElement(BlockOf(kv, sequence, i), kv.dtype,
                           i % kv.block_size_tokens * width + d);
      };
      const auto score = [&](int64_t i) {
        double sum = 0;
        for (int64_t d = 0; d < width; ++d) {
          const float qd = d < shape.latent_dim ? latent[d] : rope[d - shape.latent_dim];
          sum += double{qd} * element(i, d);
        }
        return sum * shape.softmax_scale;
      };
      Attend(sequence.first_position + r + 1, shape.latent_dim, score, element,
             scratch + worker * longest, out_latent.row(row) + h * shape.latent_dim);
    });
  }
}

void AttentionFull(Stream& stream, int64_t patches_per_tile, int64_t num_heads, int64_t head_dim,
                   float softmax_scale, ConstMat qkv, Mat out) {
  const int64_t width = num_heads * head_dim;
  KERNEL_CHECK(patches_per_tile >= 1 && qkv.rows % patches_per_tile == 0);
  KERNEL_CHECK(qkv.cols == 3 * width && out.cols == width && out.rows == qkv.rows);
  double* scratch = ScoreScratch(stream, patches_per_tile);
  ParallelUnits(stream, qkv.rows * num_heads, [&](int64_t unit, int worker) {
    const int64_t row = unit / num_heads;
    const int64_t col = unit % num_heads * head_dim;
    const int64_t first = row / patches_per_tile * patches_per_tile;
    const float* query = qkv.row(row) + col;
    const auto score = [&](int64_t i) {
      const float* key = qkv.row(first + i) + width + col;
      double sum = 0;
      for (int64_t d = 0; d < head_dim; ++d) sum += double{query[d]} * key[d];
      return sum * softmax_scale;
    };
    const auto value = [&](int64_t i, int64_t d) {
      return qkv.row(first + i)[2 * width + col + d];
    };
    Attend(patches_per_tile, head_dim, score, value, scratch + worker * patches_per_tile,
           out.row(row) + col);
  });
}

}  // namespace tessera::kernels::TESSERA_ISA
