// Walks the rows of a ragged batch and stores each into its page; the element loop is the caller's.
#ifndef TESSERA_KERNELS_ATTENTION_KV_WRITE_H_
#define TESSERA_KERNELS_ATTENTION_KV_WRITE_H_

#include "kernels/attention/paged_kv.h"
#include "kernels/cpu_stream.h"

namespace tessera::kernels {
namespace {  // NOLINT(google-build-namespaces): included by files of different instruction sets

// store(in, count, block, index): writes in[0, count) to elements index, index + 1, … of block.
template <typename Store>
void WriteMhaRows(Stream& stream, const MhaShape& shape, const SequenceRows* sequences,
                  int64_t num_sequences, ConstMat k, ConstMat v, const PagedKv& kv,
                  const Store& store) {
  const int64_t width = shape.num_kv_heads * shape.head_dim;
  CheckMha(shape, kv);
  KERNEL_CHECK(k.cols == width && v.cols == width && k.rows == v.rows);
  CheckSequences(sequences, num_sequences, k.rows);
  for (int64_t s = 0; s < num_sequences; ++s) {
    const SequenceRows& sequence = sequences[s];
    const auto rows = [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        const int64_t position = sequence.first_position + r;
        const int64_t row = sequence.first_row + r;
        char* block = BlockOf(kv, sequence, position);
        for (int64_t h = 0; h < shape.num_kv_heads; ++h) {
          const int64_t col = h * shape.head_dim;
          store(k.row(row) + col, shape.head_dim, block, KeyIndex(shape, kv, h, position));
          store(v.row(row) + col, shape.head_dim, block, ValueIndex(shape, kv, h, position));
        }
      }
    };
    ParallelRanges(stream, sequence.num_rows, 2 * width, rows);
  }
}

template <typename Store>
void WriteMlaRows(Stream& stream, const MlaShape& shape, const SequenceRows* sequences,
                  int64_t num_sequences, ConstMat latent, ConstMat k_rope, const PagedKv& kv,
                  const Store& store) {
  CheckMla(shape, kv);
  KERNEL_CHECK(latent.cols == shape.latent_dim && k_rope.cols == shape.rope_dim);
  KERNEL_CHECK(latent.rows == k_rope.rows);
  CheckSequences(sequences, num_sequences, latent.rows);
  const int64_t width = shape.latent_dim + shape.rope_dim;
  for (int64_t s = 0; s < num_sequences; ++s) {
    const SequenceRows& sequence = sequences[s];
    const auto rows = [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        const int64_t position = sequence.first_position + r;
        const int64_t row = sequence.first_row + r;
        char* block = BlockOf(kv, sequence, position);
        const int64_t index = position % kv.block_size_tokens * width;
        store(latent.row(row), shape.latent_dim, block, index);
        store(k_rope.row(row), shape.rope_dim, block, index + shape.latent_dim);
      }
    };
    ParallelRanges(stream, sequence.num_rows, width, rows);
  }
}

}  // namespace
}  // namespace tessera::kernels

#endif  // TESSERA_KERNELS_ATTENTION_KV_WRITE_H_
