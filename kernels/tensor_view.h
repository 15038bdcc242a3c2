// Non-owning views of tensors. A view never owns; its memory outlives the call that it is handed
// to. Includes nothing but <cstdint>: files built for one instruction set may not instantiate
// shared inline code (see CMakeLists.txt).
#ifndef TESSERA_KERNELS_TENSOR_VIEW_H_
#define TESSERA_KERNELS_TENSOR_VIEW_H_

#include <cstdint>

namespace tessera::kernels {

enum class DType : uint8_t { kF32, kBF16, kF16 };

constexpr int64_t SizeOf(DType dtype) { return dtype == DType::kF32 ? 4 : 2; }

// Row-major float32 matrix [rows, cols]; row i starts at data + i * stride, stride >= cols (in
// elements).
struct ConstMat {
  const float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;

  const float* row(int64_t i) const { return data + i * stride; }
};

struct Mat {
  float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;

  float* row(int64_t i) const { return data + i * stride; }
  operator ConstMat() const {
    return {data, rows, cols, stride};
  }  // NOLINT(google-explicit-constructor): as span → const span
  // Columns [begin, begin + count) of the same rows.
  Mat columns(int64_t begin, int64_t count) const { return {data + begin, rows, count, stride}; }
  // Rows [begin, begin + count).
  Mat row_range(int64_t begin, int64_t count) const {
    return {data + begin * stride, count, cols, stride};
  }
};

// A weight W [n, k] (n outputs, k inputs) in the packed layout of gemm/packed_layout.h. dtype is
// kF32 or kBF16. The bytes are made by KernelTable::pack_weight and are the same for all
// instruction sets.
struct PackedWeight {
  const void* data = nullptr;
  DType dtype = DType::kBF16;
  int64_t n = 0;
  int64_t k = 0;
};

// The KV cache of one layer as pages. Block b holds positions of one sequence in order and lies at
// data + b * block_bytes. Inside a block (block_size_tokens = B, elements of `dtype`, kF32 or
// kBF16):
//   MHA: K [kv_heads, B, head_dim], then V [kv_heads, B, head_dim]
//   MLA: [B, latent_dim + rope_dim]: the normed latent, then the rotated shared key
struct PagedKv {
  void* data = nullptr;
  DType dtype = DType::kBF16;
  int64_t num_blocks = 0;
  int64_t block_size_tokens = 0;
  int64_t block_bytes = 0;
};

// The rows of one sequence in a ragged batch: rows [first_row, first_row + num_rows) of the batch
// stand at positions first_position, first_position + 1, … of the sequence. block_table[p / B] is
// the block of position p, and covers every position up to the last row's.
struct SequenceRows {
  int64_t first_row = 0;
  int64_t num_rows = 0;
  int64_t first_position = 0;
  const int32_t* block_table = nullptr;
};

}  // namespace tessera::kernels

#endif  // TESSERA_KERNELS_TENSOR_VIEW_H_
