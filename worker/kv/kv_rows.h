// Copies between pages and contiguous rows, as K and V travel between ranks. A row is what one
// token leaves in one layer: with MHA the K of all heads, then the V of all heads; with MLA the
// latent and the rotated key.
#ifndef TESSERA_WORKER_KV_KV_ROWS_H_
#define TESSERA_WORKER_KV_KV_ROWS_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "kernels/kernels.h"
#include "worker/model/model.h"

namespace tessera::kv {

// A row lies in a block as `pieces` runs of piece_bytes each; piece p of all tokens of a block
// comes before piece p + 1 (kernels/tensor_view.h).
struct RowShape {
  int64_t pieces = 1;
  int64_t piece_bytes = 0;
};

RowShape RowShapeOf(const model::LanguageConfig& config, const model::KvLayout& layout);

inline int64_t RowBytes(const RowShape& shape) { return shape.pieces * shape.piece_bytes; }

// blocks: ids for positions 0 … first_position + num_rows - 1 at least, all of them in `pages`;
// rows: [num_rows, RowBytes]. Thread safe for different rows.
void ReadRows(const kernels::PagedKv& pages, const RowShape& shape,
              absl::Span<const int32_t> blocks, int64_t first_position, int64_t num_rows,
              absl::Span<std::byte> rows);
void WriteRows(const kernels::PagedKv& pages, const RowShape& shape,
               absl::Span<const int32_t> blocks, int64_t first_position, int64_t num_rows,
               absl::Span<const std::byte> rows);

}  // namespace tessera::kv

#endif  // TESSERA_WORKER_KV_KV_ROWS_H_
