// The innermost product: a tile of kRows rows by kPanels panels of 16 columns, held in registers
// while k runs. Each output is one sum in order of k, so its bits do not depend on the tile.
#ifndef TESSERA_KERNELS_GEMM_MICROKERNEL_H_
#define TESSERA_KERNELS_GEMM_MICROKERNEL_H_

#include <cstdint>

#include "kernels/bf16.h"

namespace tessera::kernels::TESSERA_ISA {
namespace {

constexpr int kLineUnits = 16;  // 32-bit units in a line of a panel

template <typename P>
struct TileArgs {
  const typename P::Input* input;  // [steps][kRows][P::kSubsteps]
  const uint32_t* weights;         // first line of the first panel
  int64_t panel_units;             // 32-bit units from a panel to the next
  int64_t steps;
  float* out;  // [kRows, kPanels * 16]
  int64_t out_stride;
  bool accumulate;    // continue the sums in `out`; else start from zero
  const float* bias;  // [kPanels * 16] added at the end, or null
  // Lines to read ahead of the current one in each panel, 0: none. After a panel's last line
  // reading ahead goes on at the panel's place in the next group.
  int64_t ahead;
  int64_t group_ahead_units;
};

template <typename P, int kRows, int kPanels>
struct Tile {
  using S = typename P::Simd;
  using F = typename S::F;
  static constexpr int kVectors = kLineUnits / S::kLanes;

  F sums[kRows][kPanels][kVectors];

  __attribute__((always_inline)) void Start(const TileArgs<P>& args) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int p = 0; p < kPanels; ++p) {
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
          const float* out = args.out + r * args.out_stride + p * kLineUnits + v * S::kLanes;
          sums[r][p][v] = args.accumulate ? S::Load(out) : S::Zero();
        }
      }
    }
  }

  // The running pointers keep the loop free of multiplications.
  __attribute__((always_inline)) void Steps(const typename P::Input*& input,
                                            const uint32_t*& weights, int64_t panel_units,
                                            int64_t steps, int64_t ahead_units) {
    for (int64_t i = 0; i < steps; ++i) {
#pragma GCC unroll 8
      for (int p = 0; p < kPanels; ++p) {
        S::Prefetch(reinterpret_cast<const char*>(weights + p * panel_units + ahead_units));
      }
#pragma GCC unroll 2
      for (int s = 0; s < P::kSubsteps; ++s) {
        Substep(input, weights, panel_units, s);
      }
      input += kRows * P::kSubsteps;
      weights += kLineUnits;
    }
  }

  // With few rows the inputs stay in registers and the weights pass through; with few panels the
  // other way round.
  __attribute__((always_inline)) void Substep(const typename P::Input* input,
                                              const uint32_t* weights, int64_t panel_units,
                                              int substep) {
    typename P::Weights line[kPanels][kVectors];
#pragma GCC unroll 8
    for (int p = 0; p < kPanels; ++p) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        line[p][v] = P::LoadWeights(weights + p * panel_units + v * S::kLanes, substep);
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const typename P::Inputs a = P::Broadcast(input[r * P::kSubsteps + substep]);
#pragma GCC unroll 8
      for (int p = 0; p < kPanels; ++p) {
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
          sums[r][p][v] = P::MulAdd(a, line[p][v], sums[r][p][v]);
        }
      }
    }
  }

  __attribute__((always_inline)) void Finish(const TileArgs<P>& args) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int p = 0; p < kPanels; ++p) {
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
          const int col = p * kLineUnits + v * S::kLanes;
          F sum = sums[r][p][v];
          if (args.bias != nullptr) sum = S::Add(sum, S::Load(args.bias + col));
          S::Store(args.out + r * args.out_stride + col, sum);
        }
      }
    }
  }
};

template <typename P, int kRows, int kPanels>
__attribute__((noinline)) void MultiplyTile(const TileArgs<P>& args) {
  Tile<P, kRows, kPanels> tile;
  tile.Start(args);
  const typename P::Input* input = args.input;
  const uint32_t* weights = args.weights;
  const int64_t body = args.steps > args.ahead ? args.steps - args.ahead : 0;
  const int64_t ahead_units = args.ahead * kLineUnits;
  tile.Steps(input, weights, args.panel_units, body, ahead_units);
  tile.Steps(input, weights, args.panel_units, args.steps - body,
             ahead_units + args.group_ahead_units);
  tile.Finish(args);
}

template <typename P>
using TileFunction = void (*)(const TileArgs<P>&);

// Panels that a tile of `rows` rows takes at once.
template <typename P>
constexpr int PanelsFor(int rows) {
  using S = typename P::Simd;
  const int fit = S::kAccumulators / (rows * (kLineUnits / S::kLanes));
  return fit < 1 ? 1 : fit > S::kStreams ? S::kStreams : fit;
}

// Finds the tile of `rows` rows (1 … kTileRows) over `panels` panels: 1, PanelsFor(rows) or, for
// any number of rows, PanelsFor(kTileRows).
template <typename P, int kRows = 1>
TileFunction<P> FindTile(int rows, int panels) {
  constexpr int kWidest = PanelsFor<P>(kRows);
  constexpr int kCommon = PanelsFor<P>(P::Simd::kTileRows);
  if (rows == kRows) {
    if (panels == kWidest) return &MultiplyTile<P, kRows, kWidest>;
    return panels == kCommon ? &MultiplyTile<P, kRows, kCommon> : &MultiplyTile<P, kRows, 1>;
  }
  if constexpr (kRows < P::Simd::kTileRows) {
    return FindTile<P, kRows + 1>(rows, panels);
  } else {
    return nullptr;
  }
}

// Packs `count` elements of k of `rows` rows into steps; an odd last pair is filled with zero.
// read(r): the first element of row r.
template <typename P, int kRows, typename Read>
void PackTileRows(const Read& read, int64_t k, typename P::Input* out) {
  using S = typename P::Simd;
  constexpr int64_t kBlock = 64;
  float block[kRows][kBlock];
  for (int64_t begin = 0; begin < k; begin += kBlock) {
    const int64_t count = k - begin < kBlock ? k - begin : kBlock;
    for (int r = 0; r < kRows; ++r) {
      const float* in = read(r) + begin;
      int64_t i = 0;
      if constexpr (P::kRoundInput) {
        for (; i + S::kLanes <= count; i += S::kLanes) {
          S::Store(block[r] + i, S::RoundBf16(S::Load(in + i)));
        }
        for (; i < count; ++i) block[r][i] = Bf16Rounded(in[i]);
      } else {
        for (; i < count; ++i) block[r][i] = in[i];
      }
      for (; i % P::kElementsPerStep != 0; ++i) block[r][i] = 0;
    }
    const int64_t steps = (count + P::kElementsPerStep - 1) / P::kElementsPerStep;
    constexpr int kPerInput = P::kElementsPerStep / P::kSubsteps;
    for (int64_t step = 0; step < steps; ++step) {
      for (int r = 0; r < kRows; ++r) {
        for (int s = 0; s < P::kSubsteps; ++s) {
          *out++ = P::Combine(block[r] + step * P::kElementsPerStep + s * kPerInput);
        }
      }
    }
  }
}

template <typename P, int kRows = 1, typename Read>
void PackTile(int rows, const Read& read, int64_t k, typename P::Input* out) {
  if (rows == kRows) {
    PackTileRows<P, kRows>(read, k, out);
  } else if constexpr (kRows < P::Simd::kTileRows) {
    PackTile<P, kRows + 1>(rows, read, k, out);
  }
}

}  // namespace
}  // namespace tessera::kernels::TESSERA_ISA

#endif  // TESSERA_KERNELS_GEMM_MICROKERNEL_H_
