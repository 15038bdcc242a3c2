// The official tiling: which grid of tiles fits a picture, how many tokens that makes, and the
// tiles themselves, bit for bit as the reference with Pillow's resampling (golden README, points
// 15-20). One function decides grid and token count.
#ifndef TESSERA_SERVICES_GATEWAY_PROMPT_TILER_H_
#define TESSERA_SERVICES_GATEWAY_PROMPT_TILER_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "services/gateway/prompt/image.h"

namespace tessera::prompt {

// From processor_config.json.
struct TileGeometry {
  std::vector<std::pair<int64_t, int64_t>>
      candidate_resolutions;  // (width, height) in pixels, in the file's order
  int64_t image_size = 384;   // side of a tile in pixels: the first candidate's width
  int64_t patch_size = 14;    // pixels
  int64_t downsample_ratio = 2;
};

struct TileGrid {
  int64_t across = 1;
  int64_t down = 1;
  friend bool operator==(const TileGrid&, const TileGrid&) = default;
};

struct TiledImage {
  TileGrid grid;
  int64_t side = 0;  // pixels
  std::vector<uint8_t>
      tiles;  // [1 + across * down, 3, side, side]: the global view, then local tiles row by row
  int64_t num_tiles() const { return 1 + grid.across * grid.down; }
};

// cropping: true while the whole conversation has at most two images; else the grid is 1 × 1.
TileGrid ChooseGrid(const TileGeometry& geometry, int64_t width, int64_t height, bool cropping);

// Placeholder tokens of an image with this grid.
int64_t NumImageTokens(const TileGeometry& geometry, const TileGrid& grid);

// INVALID_ARGUMENT: the aspect ratio is so extreme that a fitted side would be 0.
absl::StatusOr<TiledImage> TileImage(const TileGeometry& geometry, const Image& image,
                                     bool cropping);

}  // namespace tessera::prompt

#endif  // TESSERA_SERVICES_GATEWAY_PROMPT_TILER_H_
