// Attention of the vision tower: per (tile, head) the keys and values are packed as GEMM panels
// once, then each tile of queries is two products of the GEMM microkernel with a softmax between.
#include "kernels/check.h"
#include "kernels/cpu_stream.h"
#include "kernels/gemm/gemm_policies.h"
#include "kernels/gemm/microkernel.h"
#include "kernels/gemm/packed_layout.h"
#include "kernels/ops.h"
#include "kernels/simd/math.h"
#include TESSERA_SIMD_HEADER

namespace tessera::kernels::TESSERA_ISA {
namespace {

using F = Simd::F;
using Product = F32Product<Simd>;

constexpr int kTileRows = Simd::kTileRows;

struct FullScratch {
  int64_t positions;
  int64_t dim;
  int64_t key_panels;    // over positions
  int64_t value_panels;  // over dim
  float* keys;           // [key_panels][dim][16]
  float* values;         // [value_panels][positions][16]
  float* queries;        // [dim][kTileRows], scaled
  float* scores;         // [kTileRows][key_panels * 16]
  float* weights;        // [positions][kTileRows]
  float* results;        // [kTileRows][value_panels * 16]

  FullScratch(int64_t positions_in, int64_t dim_in)
      : positions(positions_in),
        dim(dim_in),
        key_panels(NumPanels(positions_in)),
        value_panels(NumPanels(dim_in)) {}

  int64_t KeyFloats() const { return key_panels * dim * kPanelCols; }
  int64_t ValueFloats() const { return value_panels * positions * kPanelCols; }
  int64_t Floats() const {
    const int64_t tile = dim + key_panels * kPanelCols + positions + value_panels * kPanelCols;
    return (KeyFloats() + ValueFloats() + kTileRows * tile + 63) / 16 * 16;
  }
  void Place(float* memory) {
    keys = memory;
    values = keys + KeyFloats();
    scores = values + ValueFloats();
    results = scores + kTileRows * key_panels * kPanelCols;
    queries = results + kTileRows * value_panels * kPanelCols;
    weights = queries + kTileRows * dim;
  }
};

void PackKeys(ConstMat qkv, int64_t first_row, int64_t col, const FullScratch& scratch) {
  for (int64_t panel = 0; panel < scratch.key_panels; ++panel) {
    float* out = scratch.keys + panel * scratch.dim * kPanelCols;
    for (int64_t c = 0; c < kPanelCols; ++c) {
      const int64_t i = panel * kPanelCols + c;
      const float* key = i < scratch.positions ? qkv.row(first_row + i) + col : nullptr;
      for (int64_t d = 0; d < scratch.dim; ++d) out[d * kPanelCols + c] = key ? key[d] : 0.0f;
    }
  }
}

void PackValues(ConstMat qkv, int64_t first_row, int64_t col, const FullScratch& scratch) {
  for (int64_t i = 0; i < scratch.positions; ++i) {
    const float* value = qkv.row(first_row + i) + col;
    for (int64_t panel = 0; panel < scratch.value_panels; ++panel) {
      float* out = scratch.values + (panel * scratch.positions + i) * kPanelCols;
      const int64_t left = scratch.dim - panel * kPanelCols;
      for (int64_t c = 0; c < kPanelCols; ++c) {
        out[c] = c < left ? value[panel * kPanelCols + c] : 0.0f;
      }
    }
  }
}

// out [rows, panels * 16] = input [rows, steps] · panels
void MultiplyPanels(const float* input, int rows, const float* panels, int64_t num_panels,
                    int64_t steps, float* out) {
  constexpr int kGroup = PanelsFor<Product>(kTileRows);
  for (int64_t panel = 0; panel < num_panels;) {
    const int group = num_panels - panel >= kGroup ? kGroup : 1;
    TileArgs<Product> args{};
    args.input = input;
    args.weights = reinterpret_cast<const uint32_t*>(panels + panel * steps * kPanelCols);
    args.panel_units = steps * kPanelCols;
    args.steps = steps;
    args.out = out + panel * kPanelCols;
    args.out_stride = num_panels * kPanelCols;
    FindTile<Product>(rows, group)(args);
    panel += group;
  }
}

// Scores of one query → unnormalised weights; returns 1 / their sum.
float SoftmaxRow(float* scores, int64_t count, int64_t padded) {
  for (int64_t i = count; i < padded; ++i) scores[i] = -__builtin_inff();
  F max = Simd::Load(scores);
  for (int64_t i = 0; i < padded; i += Simd::kLanes) max = Simd::Max(max, Simd::Load(scores + i));
  const F row_max = Simd::Set1(Simd::ReduceMax(max));
  F sum = Simd::Zero();
  for (int64_t i = 0; i < padded; i += Simd::kLanes) {
    const F weight = Exp<Simd>(Simd::Sub(Simd::Load(scores + i), row_max));
    Simd::Store(scores + i, weight);
    sum = Simd::Add(sum, weight);
  }
  return 1.0f / Simd::ReduceAdd(sum);
}

// out[i][r] = in[r][i], kRows rows.
template <int kRows>
void Interleave(const float* in, int64_t stride, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) out[i * kRows + r] = in[r * stride + i];
  }
}

void InterleaveRows(int rows, const float* in, int64_t stride, int64_t count, float* out) {
  if (rows == kTileRows) {
    Interleave<kTileRows>(in, stride, count, out);
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    for (int r = 0; r < rows; ++r) out[i * rows + r] = in[r * stride + i];
  }
}

// Rows [first, first + rows) of the tile at tile_row, one head.
void AttendTile(ConstMat qkv, int64_t row, int rows, int64_t col, float scale,
                const FullScratch& scratch, Mat out) {
  for (int64_t d = 0; d < scratch.dim; ++d) {
    for (int r = 0; r < rows; ++r) {
      scratch.queries[d * rows + r] = qkv.row(row + r)[col + d] * scale;
    }
  }
  const int64_t padded = scratch.key_panels * kPanelCols;
  MultiplyPanels(scratch.queries, rows, scratch.keys, scratch.key_panels, scratch.dim,
                 scratch.scores);
  float inverse_sums[kTileRows];
  for (int r = 0; r < rows; ++r) {
    inverse_sums[r] = SoftmaxRow(scratch.scores + r * padded, scratch.positions, padded);
  }
  InterleaveRows(rows, scratch.scores, padded, scratch.positions, scratch.weights);
  MultiplyPanels(scratch.weights, rows, scratch.values, scratch.value_panels, scratch.positions,
                 scratch.results);
  for (int r = 0; r < rows; ++r) {
    const float* result = scratch.results + r * scratch.value_panels * kPanelCols;
    float* to = out.row(row + r) + col;
    for (int64_t d = 0; d < scratch.dim; ++d) to[d] = result[d] * inverse_sums[r];
  }
}

}  // namespace

void AttentionFull(Stream& stream, int64_t patches_per_tile, int64_t num_heads, int64_t head_dim,
                   float softmax_scale, ConstMat qkv, Mat out) {
  const int64_t width = num_heads * head_dim;
  KERNEL_CHECK(patches_per_tile >= 1 && qkv.rows % patches_per_tile == 0);
  KERNEL_CHECK(qkv.cols == 3 * width && out.cols == width && out.rows == qkv.rows);
  const FullScratch shape(patches_per_tile, head_dim);
  const int64_t floats = shape.Floats();
  float* memory = static_cast<float*>(
      StreamScratch(stream, ScratchSlot::kThread, StreamThreads(stream) * floats * sizeof(float)));
  const int64_t tiles = qkv.rows / patches_per_tile;
  ParallelUnits(stream, tiles * num_heads, [&](int64_t unit, int worker) {
    FullScratch scratch(patches_per_tile, head_dim);
    scratch.Place(memory + worker * floats);
    const int64_t first_row = unit / num_heads * patches_per_tile;
    const int64_t col = unit % num_heads * head_dim;
    PackKeys(qkv, first_row, width + col, scratch);
    PackValues(qkv, first_row, 2 * width + col, scratch);
    for (int64_t row = 0; row < patches_per_tile; row += kTileRows) {
      const int64_t left = patches_per_tile - row;
      const int rows = static_cast<int>(left < kTileRows ? left : kTileRows);
      AttendTile(qkv, first_row + row, rows, col, softmax_scale, scratch, out);
    }
  });
}

}  // namespace tessera::kernels::TESSERA_ISA
