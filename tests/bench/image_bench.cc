// A one-megapixel picture from JPEG bytes to tiles: the gateway's work per picture.
#include <benchmark/benchmark.h>

#include <fstream>
#include <sstream>

#include "services/base/check.h"
#include "services/gateway/prompt/image.h"
#include "services/gateway/prompt/tiler.h"

namespace tessera::prompt {
namespace {

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

std::string JpegBytes(const char* name) {
  return ReadFile(std::string(TESSERA_FIXTURES) + "/golden/processor/images/" + name);
}

TileGeometry OfficialGeometry() {
  TileGeometry geometry;
  for (const auto& [across, down] : {std::pair<int64_t, int64_t>{1, 1},
                                     {1, 2},
                                     {2, 1},
                                     {1, 3},
                                     {3, 1},
                                     {1, 4},
                                     {4, 1},
                                     {2, 2},
                                     {1, 5},
                                     {5, 1},
                                     {1, 6},
                                     {6, 1},
                                     {2, 3},
                                     {3, 2},
                                     {1, 7},
                                     {7, 1},
                                     {1, 8},
                                     {8, 1},
                                     {2, 4},
                                     {4, 2},
                                     {1, 9},
                                     {9, 1},
                                     {3, 3}}) {
    geometry.candidate_resolutions.emplace_back(384 * across, 384 * down);
  }
  return geometry;
}

Image Decode(const char* name) {
  auto image = DecodeImage(JpegBytes(name), ImageLimits{});
  TESSERA_CHECK(image.ok()) << name;
  return *std::move(image);
}

// The upper left part of a golden picture, so that the size is the one asked for.
Image Crop(const Image& from, int64_t width, int64_t height) {
  Image image{.width = width, .height = height};
  for (int64_t y = 0; y < height; ++y) {
    const uint8_t* row = from.rgb.data() + y * from.width * 3;
    image.rgb.insert(image.rgb.end(), row, row + width * 3);
  }
  return image;
}

void BM_DecodeJpeg(benchmark::State& state, const char* name) {
  const std::string bytes = JpegBytes(name);
  for (auto _ : state) benchmark::DoNotOptimize(DecodeImage(bytes, ImageLimits{}));
}
BENCHMARK_CAPTURE(BM_DecodeJpeg, 1MP_2048x512, "q90_2048x512.jpg")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(BM_DecodeJpeg, 2MP_1920x1080, "q90_1920x1080.jpg")->Unit(benchmark::kMillisecond);

void BM_Tile(benchmark::State& state, int64_t width, int64_t height) {
  const Image image = Crop(Decode("q90_1920x1080.jpg"), width, height);
  const TileGeometry geometry = OfficialGeometry();
  int64_t tiles = 0;
  for (auto _ : state) {
    const auto tiled = TileImage(geometry, image, true);
    tiles = tiled->num_tiles();
    benchmark::DoNotOptimize(tiled);
  }
  state.counters["tiles"] = static_cast<double>(tiles);
}
BENCHMARK_CAPTURE(BM_Tile, 1MP_1152x900, 1152, 900)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(BM_Tile, 1MP_1000x1000, 1000, 1000)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(BM_Tile, 2MP_1920x1080, 1920, 1080)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace tessera::prompt
