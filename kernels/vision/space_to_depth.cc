#include "kernels/check.h"
#include "kernels/cpu_stream.h"
#include "kernels/ops.h"

namespace tessera::kernels::shared {

void SpaceToDepth(Stream& stream, int64_t num_tiles, int64_t grid, int64_t ratio, ConstMat x,
                  Mat y) {
  KERNEL_CHECK(num_tiles >= 0 && grid >= 1 && ratio >= 1);
  const int64_t out_grid = (grid + ratio - 1) / ratio;
  const int64_t area = ratio * ratio;
  KERNEL_CHECK(x.rows == num_tiles * grid * grid && y.rows == num_tiles * out_grid * out_grid);
  KERNEL_CHECK(y.cols == x.cols * area);
  ParallelRanges(stream, y.rows, y.cols, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t tile = row / (out_grid * out_grid);
      const int64_t top = row / out_grid % out_grid * ratio;
      const int64_t left = row % out_grid * ratio;
      for (int64_t cell = 0; cell < area; ++cell) {
        const int64_t map_y = top + cell / ratio;
        const int64_t map_x = left + cell % ratio;
        const bool inside = map_y < grid && map_x < grid;
        const float* in = inside ? x.row((tile * grid + map_y) * grid + map_x) : nullptr;
        float* out = y.row(row) + cell;
        for (int64_t c = 0; c < x.cols; ++c) out[c * area] = inside ? in[c] : 0.0f;
      }
    }
  });
}

}  // namespace tessera::kernels::shared
