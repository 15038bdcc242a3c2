#include "worker/kv/kv_rows.h"

#include <cstring>

#include "services/base/check.h"

namespace tessera::kv {
namespace {

// Calls copy(place in the pages, offset in the rows) for each piece of each row.
template <typename Copy>
void ForEachPiece(const kernels::PagedKv& pages, const RowShape& shape,
                  absl::Span<const int32_t> blocks, int64_t first_position, int64_t num_rows,
                  size_t num_bytes, const Copy& copy) {
  const int64_t block_size = pages.block_size_tokens;
  TESSERA_CHECK(RowBytes(shape) * block_size == pages.block_bytes) << "rows of other pages";
  TESSERA_CHECK(first_position >= 0 && num_rows >= 0 &&
                first_position + num_rows <= static_cast<int64_t>(blocks.size()) * block_size)
      << "rows outside the blocks";
  TESSERA_CHECK(static_cast<int64_t>(num_bytes) == num_rows * RowBytes(shape)) << num_bytes;
  for (int64_t row = 0; row < num_rows; ++row) {
    const int64_t position = first_position + row;
    const int32_t block = blocks[position / block_size];
    TESSERA_CHECK(block >= 0 && block < pages.num_blocks) << "block " << block;
    std::byte* const first_piece = static_cast<std::byte*>(pages.data) + block * pages.block_bytes +
                                   position % block_size * shape.piece_bytes;
    for (int64_t piece = 0; piece < shape.pieces; ++piece) {
      copy(first_piece + piece * block_size * shape.piece_bytes,
           row * RowBytes(shape) + piece * shape.piece_bytes);
    }
  }
}

}  // namespace

RowShape RowShapeOf(const model::LanguageConfig& config, const model::KvLayout& layout) {
  RowShape shape;
  shape.pieces = config.use_mla ? 1 : 2 * config.num_key_value_heads;
  const int64_t row_bytes = layout.row_elements * kernels::SizeOf(layout.dtype);
  TESSERA_CHECK(row_bytes % shape.pieces == 0) << row_bytes;
  shape.piece_bytes = row_bytes / shape.pieces;
  return shape;
}

void ReadRows(const kernels::PagedKv& pages, const RowShape& shape,
              absl::Span<const int32_t> blocks, int64_t first_position, int64_t num_rows,
              absl::Span<std::byte> rows) {
  ForEachPiece(pages, shape, blocks, first_position, num_rows, rows.size(),
               [&](const std::byte* page, int64_t offset) {
                 std::memcpy(rows.data() + offset, page, shape.piece_bytes);
               });
}

void WriteRows(const kernels::PagedKv& pages, const RowShape& shape,
               absl::Span<const int32_t> blocks, int64_t first_position, int64_t num_rows,
               absl::Span<const std::byte> rows) {
  ForEachPiece(pages, shape, blocks, first_position, num_rows, rows.size(),
               [&](std::byte* page, int64_t offset) {
                 std::memcpy(page, rows.data() + offset, shape.piece_bytes);
               });
}

}  // namespace tessera::kv
