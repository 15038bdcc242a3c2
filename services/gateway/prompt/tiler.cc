#include "services/gateway/prompt/tiler.h"

#include <algorithm>
#include <cmath>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/gateway/prompt/resample.h"
#include "services/gateway/prompt/resample_kernels.h"

namespace tessera::prompt {
namespace {

__extension__ typedef __int128 Area;  // a product of two sides never overflows it

// A view of the picture that fits inside a canvas of across × down tiles, centred.
struct Placement {
  int64_t width = 0;   // of the fitted picture, pixels
  int64_t height = 0;  // of the fitted picture, pixels
  int64_t x = 0;       // of its left edge on the canvas
  int64_t y = 0;       // of its top edge on the canvas
};

// Python's round(): half to even, which is also the default mode of nearbyint.
int64_t RoundHalfEven(double value) { return static_cast<int64_t>(std::nearbyint(value)); }

absl::StatusOr<Placement> Fit(const Image& image, int64_t canvas_width, int64_t canvas_height) {
  const double width = static_cast<double>(image.width);
  const double height = static_cast<double>(image.height);
  const double ratio = width / height;
  const double canvas_ratio =
      static_cast<double>(canvas_width) / static_cast<double>(canvas_height);
  Placement placement{.width = canvas_width, .height = canvas_height};
  if (ratio > canvas_ratio) {
    placement.height = RoundHalfEven(height / width * static_cast<double>(canvas_width));
  } else if (ratio < canvas_ratio) {
    placement.width = RoundHalfEven(ratio * static_cast<double>(canvas_height));
  }
  if (placement.width == 0 || placement.height == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("image: ", image.width, " x ", image.height,
                     " pixels is so narrow that it would be ", placement.width, " x ",
                     placement.height, " pixels inside ", canvas_width, " x ", canvas_height));
  }
  placement.x = RoundHalfEven(static_cast<double>(canvas_width - placement.width) * 0.5);
  placement.y = RoundHalfEven(static_cast<double>(canvas_height - placement.height) * 0.5);
  return placement;
}

// Writes one row of a view into the tiles that it crosses. tiles: [down, across, 3, side, side].
void WriteRow(uint8_t* tiles, int64_t across, int64_t side, int64_t x, int64_t y,
              const uint8_t* row, int64_t width) {
  while (width > 0) {
    const int64_t length = std::min(side - x % side, width);
    uint8_t* tile = tiles + (y / side * across + x / side) * 3 * side * side;
    uint8_t* red = tile + y % side * side + x % side;
    SplitChannels(row, length, red, red + side * side, red + 2 * side * side);
    row += 3 * length;
    x += length;
    width -= length;
  }
}

absl::Status RenderView(const Image& image, const TileGrid& grid, int64_t side, uint8_t* tiles) {
  TESSERA_ASSIGN_OR_RETURN(const Placement placement,
                           Fit(image, grid.across * side, grid.down * side));
  ResampleBicubic(image, placement.width, placement.height, [&](int64_t y, const uint8_t* row) {
    WriteRow(tiles, grid.across, side, placement.x, placement.y + y, row, placement.width);
  });
  return absl::OkStatus();
}

}  // namespace

TileGrid ChooseGrid(const TileGeometry& geometry, int64_t width, int64_t height, bool cropping) {
  TileGrid best;
  if (!cropping || width <= 0 || height <= 0) return best;
  Area best_effective = -1;
  Area best_wasted = 0;
  for (const auto& [candidate_width, candidate_height] : geometry.candidate_resolutions) {
    const double scale =
        std::min(static_cast<double>(candidate_width) / static_cast<double>(width),
                 static_cast<double>(candidate_height) / static_cast<double>(height));
    const Area fitted = Area{static_cast<int64_t>(static_cast<double>(width) * scale)} *
                        static_cast<int64_t>(static_cast<double>(height) * scale);
    const Area effective = std::min(fitted, Area{width} * height);
    const Area wasted = Area{candidate_width} * candidate_height - effective;
    if (effective > best_effective || (effective == best_effective && wasted < best_wasted)) {
      best_effective = effective;
      best_wasted = wasted;
      best = {.across = candidate_width / geometry.image_size,
              .down = candidate_height / geometry.image_size};
    }
  }
  return best;
}

int64_t NumImageTokens(const TileGeometry& geometry, const TileGrid& grid) {
  const int64_t patches = geometry.image_size / geometry.patch_size;
  const int64_t side = (patches + geometry.downsample_ratio - 1) / geometry.downsample_ratio;
  return side * (side + 1) + 1 + grid.down * side * (grid.across * side + 1);
}

absl::StatusOr<TiledImage> TileImage(const TileGeometry& geometry, const Image& image,
                                     bool cropping) {
  if (image.width <= 0 || image.height <= 0 ||
      image.rgb.size() != static_cast<size_t>(image.width) * image.height * 3) {
    return absl::InvalidArgumentError(absl::StrCat("image: ", image.width, " x ", image.height,
                                                   " pixels with ", image.rgb.size(),
                                                   " bytes cannot be tiled"));
  }
  constexpr uint8_t kPaddingColor = 127;  // the processor's mean of 0.5 as a byte
  TiledImage tiled;
  tiled.side = geometry.image_size;
  tiled.grid = ChooseGrid(geometry, image.width, image.height, cropping);
  const size_t tile_bytes = static_cast<size_t>(3 * tiled.side * tiled.side);
  tiled.tiles.assign(static_cast<size_t>(tiled.num_tiles()) * tile_bytes, kPaddingColor);
  TESSERA_RETURN_IF_ERROR(RenderView(image, TileGrid{}, tiled.side, tiled.tiles.data()));
  TESSERA_RETURN_IF_ERROR(
      RenderView(image, tiled.grid, tiled.side, tiled.tiles.data() + tile_bytes));
  return tiled;
}

}  // namespace tessera::prompt
