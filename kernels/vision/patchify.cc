#include "kernels/check.h"
#include "kernels/cpu_stream.h"
#include "kernels/ops.h"

namespace tessera::kernels::shared {
namespace {

struct PixelTable {
  float value[256];
};

PixelTable MakePixelTable() {
  PixelTable table;
  for (int v = 0; v < 256; ++v) {
    table.value[v] = (static_cast<float>(v) / 255.0f - 0.5f) / 0.5f;
  }
  return table;
}

}  // namespace

void Patchify(Stream& stream, const uint8_t* tiles, int64_t num_tiles, int64_t side, int64_t patch,
              Mat patches) {
  KERNEL_CHECK(patch >= 1 && side >= patch && num_tiles >= 0);
  const int64_t grid = side / patch;
  KERNEL_CHECK(patches.rows == num_tiles * grid * grid && patches.cols == 3 * patch * patch);
  const PixelTable pixels = MakePixelTable();
  ParallelRanges(stream, patches.rows, patches.cols, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t tile = row / (grid * grid);
      const int64_t top = row / grid % grid * patch;
      const int64_t left = row % grid * patch;
      float* out = patches.row(row);
      for (int64_t channel = 0; channel < 3; ++channel) {
        const uint8_t* plane = tiles + (tile * 3 + channel) * side * side;
        for (int64_t y = 0; y < patch; ++y) {
          const uint8_t* line = plane + (top + y) * side + left;
          for (int64_t x = 0; x < patch; ++x) *out++ = pixels.value[line[x]];
        }
      }
    }
  });
}

}  // namespace tessera::kernels::shared
