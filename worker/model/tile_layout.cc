#include "worker/model/tile_layout.h"

#include <algorithm>

namespace tessera::model {
namespace {

using kernels::ConstMat;
using kernels::Mat;

// Copies rows into consecutive rows of a matrix.
class RowWriter {
 public:
  explicit RowWriter(Mat out) : out_(out) {}
  void Write(const float* row) { std::copy_n(row, out_.cols, out_.row(next_++)); }

 private:
  Mat out_;
  int64_t next_ = 0;
};

// A picture of across × down tiles, the first of which is number first_tile.
void WriteView(int64_t side, int64_t first_tile, int64_t across, int64_t down, ConstMat tiles,
               const float* newline, RowWriter& writer) {
  for (int64_t y = 0; y < down * side; ++y) {
    for (int64_t x = 0; x < across * side; ++x) {
      const int64_t tile = first_tile + y / side * across + x / side;
      writer.Write(tiles.row((tile * side + y % side) * side + x % side));
    }
    writer.Write(newline);
  }
}

}  // namespace

void ArrangeTiles(const TileLayout& layout, ConstMat tiles, const float* newline,
                  const float* separator, Mat out) {
  RowWriter writer(out);
  const auto write_global = [&] { WriteView(layout.side, 0, 1, 1, tiles, newline, writer); };
  const auto write_local = [&] {
    WriteView(layout.side, 1, layout.tiles_across, layout.tiles_down, tiles, newline, writer);
  };
  if (layout.global_view_first) {
    write_global();
    writer.Write(separator);
    write_local();
  } else {
    write_local();
    writer.Write(separator);
    write_global();
  }
}

}  // namespace tessera::model
