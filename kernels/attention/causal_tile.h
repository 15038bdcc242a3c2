// Online softmax over one tile of KV positions, for a few queries that share its keys.
// Scores are sums over kLanes running sums; every path (one query or many, keys read from bf16
// pages or from a widened copy) adds in the same order, so a query's bits depend on it alone.
#ifndef TESSERA_KERNELS_ATTENTION_CAUSAL_TILE_H_
#define TESSERA_KERNELS_ATTENTION_CAUSAL_TILE_H_

#include <cstdint>

#include "kernels/simd/math.h"

namespace tessera::kernels::TESSERA_ISA {
namespace {

constexpr int64_t kTilePositions = 64;
// Scores of a query in a tile; the rest is room for whole groups of four.
constexpr int64_t kScoreStride = kTilePositions + 16;

template <typename S>
inline typename S::F LoadElements(const float* p) {
  return S::Load(p);
}
template <typename S>
inline typename S::F LoadElements(const uint16_t* p) {
  return S::LoadBf16(p);
}

// scores[r * kScoreStride + i] = q[r] · key[i], r < kRows, i < count; may write 3 scores more.
// dim is a multiple of kLanes.
template <typename S, int kRows, typename Element>
void ScoreRows(const float* q, int64_t q_stride, const Element* key, int64_t key_stride,
               int64_t count, int64_t dim, float* scores) {
  using F = typename S::F;
  for (int64_t i = 0; i < count; i += 4) {
    const Element* keys[4];
    for (int64_t j = 0; j < 4; ++j) {
      keys[j] = key + (i + j < count ? i + j : count - 1) * key_stride;
    }
    F sums[kRows][4];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) sums[r][j] = S::Zero();
    }
    for (int64_t d = 0; d < dim; d += S::kLanes) {
      F query[kRows];
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) query[r] = S::Load(q + r * q_stride + d);
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const F elements = LoadElements<S>(keys[j] + d);
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) sums[r][j] = S::Fma(query[r], elements, sums[r][j]);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      S::StoreSums4(scores + r * kScoreStride + i, sums[r][0], sums[r][1], sums[r][2], sums[r][3]);
    }
  }
}

// out[r, 0 … kVectors * kLanes) += Σ_i p[r * kScoreStride + i] * value[i], i in order.
template <typename S, int kRows, int kVectors, typename Element>
__attribute__((always_inline)) inline void AccumulateColumns(const float* p, const Element* value,
                                                             int64_t value_stride, int64_t count,
                                                             float* out, int64_t out_stride) {
  using F = typename S::F;
  F sums[kRows][kVectors];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sums[r][v] = S::Load(out + r * out_stride + v * S::kLanes);
  }
  for (int64_t i = 0; i < count; ++i) {
    F weights[kRows];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) weights[r] = S::Set1(p[r * kScoreStride + i]);
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const F elements = LoadElements<S>(value + i * value_stride + v * S::kLanes);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) sums[r][v] = S::Fma(weights[r], elements, sums[r][v]);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) S::Store(out + r * out_stride + v * S::kLanes, sums[r][v]);
  }
}

// The same over all `dim` columns, a multiple of kLanes.
template <typename S, int kRows, typename Element>
void AccumulateRows(const float* p, const Element* value, int64_t value_stride, int64_t count,
                    int64_t dim, float* out, int64_t out_stride) {
  constexpr int kVectors = kRows == 1 ? 8 : S::kAccumulators / kRows < 4 ? 2 : 4;
  int64_t d = 0;
  for (; d + kVectors * S::kLanes <= dim; d += kVectors * S::kLanes) {
    AccumulateColumns<S, kRows, kVectors>(p, value + d, value_stride, count, out + d, out_stride);
  }
  for (; d < dim; d += S::kLanes) {
    AccumulateColumns<S, kRows, 1>(p, value + d, value_stride, count, out + d, out_stride);
  }
}

struct SoftmaxState {
  float max;
  float sum;
};

// Turns `count` >= 1 scores into weights relative to the new maximum, and rescales what `out`
// holds of earlier tiles. scores has room for a whole number of vectors.
template <typename S>
void UpdateSoftmax(float* scores, int64_t count, SoftmaxState& state, float* out, int64_t dim) {
  using F = typename S::F;
  const float lowest = -__builtin_inff();
  const int64_t padded = (count + S::kLanes - 1) / S::kLanes * S::kLanes;
  for (int64_t i = count; i < padded; ++i) scores[i] = lowest;
  F max = S::Set1(state.max);
  for (int64_t i = 0; i < padded; i += S::kLanes) max = S::Max(max, S::Load(scores + i));
  const float new_max = S::ReduceMax(max);
  F sum = S::Zero();
  for (int64_t i = 0; i < padded; i += S::kLanes) {
    const F weight = Exp<S>(S::Sub(S::Load(scores + i), S::Set1(new_max)));
    S::Store(scores + i, weight);
    sum = S::Add(sum, weight);
  }
  float factor[S::kLanes];
  S::Store(factor, Exp<S>(S::Sub(S::Set1(state.max), S::Set1(new_max))));
  state.sum = state.sum * factor[0] + S::ReduceAdd(sum);
  state.max = new_max;
  if (factor[0] == 1.0f) return;  // multiplying by one changes nothing
  for (int64_t d = 0; d < dim; d += S::kLanes) {
    S::Store(out + d, S::Mul(S::Load(out + d), S::Set1(factor[0])));
  }
}

}  // namespace
}  // namespace tessera::kernels::TESSERA_ISA

#endif  // TESSERA_KERNELS_ATTENTION_CAUSAL_TILE_H_
