// Where positions lie in the pages of a PagedKv, and the contract of ragged batches.
#ifndef TESSERA_KERNELS_ATTENTION_PAGED_KV_H_
#define TESSERA_KERNELS_ATTENTION_PAGED_KV_H_

#include "kernels/bf16.h"
#include "kernels/check.h"
#include "kernels/op_types.h"

namespace tessera::kernels {
namespace {  // NOLINT(google-build-namespaces): included by files of different instruction sets

// First byte of the block that holds `position`.
inline char* BlockOf(const PagedKv& kv, const SequenceRows& sequence, int64_t position) {
  const int64_t block = sequence.block_table[position / kv.block_size_tokens];
  KERNEL_CHECK(block >= 0 && block < kv.num_blocks);
  return static_cast<char*>(kv.data) + block * kv.block_bytes;
}

// Element index inside a block: K (or V) of one head at `position`.
inline int64_t KeyIndex(const MhaShape& shape, const PagedKv& kv, int64_t head, int64_t position) {
  return (head * kv.block_size_tokens + position % kv.block_size_tokens) * shape.head_dim;
}
inline int64_t ValueIndex(const MhaShape& shape, const PagedKv& kv, int64_t head,
                          int64_t position) {
  return KeyIndex(shape, kv, shape.num_kv_heads + head, position);
}

inline void CheckPages(const PagedKv& kv, int64_t elements_per_token) {
  KERNEL_CHECK(kv.dtype == DType::kF32 || kv.dtype == DType::kBF16);
  KERNEL_CHECK(kv.block_size_tokens >= 1);
  KERNEL_CHECK(kv.block_bytes >= kv.block_size_tokens * elements_per_token * SizeOf(kv.dtype));
}

inline void CheckMha(const MhaShape& shape, const PagedKv& kv) {
  KERNEL_CHECK(shape.num_kv_heads >= 1 && shape.num_heads % shape.num_kv_heads == 0);
  KERNEL_CHECK(shape.head_dim >= 1);
  CheckPages(kv, 2 * shape.num_kv_heads * shape.head_dim);
}

inline void CheckMla(const MlaShape& shape, const PagedKv& kv) {
  KERNEL_CHECK(shape.num_heads >= 1 && shape.latent_dim >= 1 && shape.rope_dim >= 0);
  CheckPages(kv, shape.latent_dim + shape.rope_dim);
}

inline void CheckSequences(const SequenceRows* sequences, int64_t num_sequences, int64_t rows) {
  for (int64_t s = 0; s < num_sequences; ++s) {
    const SequenceRows& sequence = sequences[s];
    KERNEL_CHECK(sequence.first_row >= 0 && sequence.num_rows >= 0);
    KERNEL_CHECK(sequence.first_row + sequence.num_rows <= rows && sequence.first_position >= 0);
    KERNEL_CHECK(sequence.num_rows == 0 || sequence.block_table != nullptr);
  }
}

inline void StoreElement(char* block, DType dtype, int64_t index, float value) {
  if (dtype == DType::kF32) {
    reinterpret_cast<float*>(block)[index] = value;
  } else {
    reinterpret_cast<uint16_t*>(block)[index] = FloatToBf16(value);
  }
}

inline float LoadElement(const char* block, DType dtype, int64_t index) {
  return dtype == DType::kF32 ? reinterpret_cast<const float*>(block)[index]
                              : Bf16ToFloat(reinterpret_cast<const uint16_t*>(block)[index]);
}

}  // namespace
}  // namespace tessera::kernels

#endif  // TESSERA_KERNELS_ATTENTION_PAGED_KV_H_
