// The "2D" layout of an image's rows: the global view and the picture of local tiles, each full row
// followed by image_newline, with view_separator between the two views.
#ifndef TESSERA_WORKER_MODEL_TILE_LAYOUT_H_
#define TESSERA_WORKER_MODEL_TILE_LAYOUT_H_

#include <cstdint>

#include "kernels/tensor_view.h"

namespace tessera::model {

struct TileLayout {
  int64_t side = 0;  // feature rows and columns of a tile
  int64_t tiles_across = 1;
  int64_t tiles_down = 1;
  bool global_view_first = true;

  int64_t global_rows() const { return side * (side + 1); }
  int64_t local_rows() const { return tiles_down * side * (tiles_across * side + 1); }
  int64_t num_rows() const { return global_rows() + 1 + local_rows(); }
};

// tiles: [(1 + tiles_across * tiles_down) * side², hidden], the global view first, then local tiles
// row by row. newline, separator: [hidden]   out: [num_rows, hidden]
void ArrangeTiles(const TileLayout& layout, kernels::ConstMat tiles, const float* newline,
                  const float* separator, kernels::Mat out);

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_TILE_LAYOUT_H_
