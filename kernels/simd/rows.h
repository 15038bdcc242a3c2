// Walks a row in vectors; the odd end goes through a zero-padded buffer, so that an element's bits
// do not depend on its place in the row.
#ifndef TESSERA_KERNELS_SIMD_ROWS_H_
#define TESSERA_KERNELS_SIMD_ROWS_H_

#include <cstdint>

namespace tessera::kernels::TESSERA_ISA {
namespace {

// in[0, count), count < kLanes, then zeros.
template <typename S>
inline typename S::F LoadPart(const float* in, int64_t count) {
  float buffer[S::kLanes] = {};
  for (int64_t i = 0; i < count; ++i) buffer[i] = in[i];
  return S::Load(buffer);
}

template <typename S>
inline void StorePart(float* out, int64_t count, typename S::F value) {
  float buffer[S::kLanes];
  S::Store(buffer, value);
  for (int64_t i = 0; i < count; ++i) out[i] = buffer[i];
}

// out[i] = function(a[i]); out may be a.
template <typename S, typename Function>
__attribute__((always_inline)) inline void MapRow(const float* a, int64_t count, float* out,
                                                  const Function& function) {
  int64_t i = 0;
  for (; i + S::kLanes <= count; i += S::kLanes) S::Store(out + i, function(S::Load(a + i)));
  if (i < count) StorePart<S>(out + i, count - i, function(LoadPart<S>(a + i, count - i)));
}

// out[i] = function(a[i], b[i]); out may be a or b.
template <typename S, typename Function>
__attribute__((always_inline)) inline void MapRows(const float* a, const float* b, int64_t count,
                                                   float* out, const Function& function) {
  int64_t i = 0;
  for (; i + S::kLanes <= count; i += S::kLanes) {
    S::Store(out + i, function(S::Load(a + i), S::Load(b + i)));
  }
  if (i < count) {
    const auto value = function(LoadPart<S>(a + i, count - i), LoadPart<S>(b + i, count - i));
    StorePart<S>(out + i, count - i, value);
  }
}

// Σ function(a[i]): four running sums of kLanes, added in one fixed order.
template <typename S, typename Function>
__attribute__((always_inline)) inline float SumRow(const float* a, int64_t count,
                                                   const Function& function) {
  using F = typename S::F;
  F sums[4] = {S::Zero(), S::Zero(), S::Zero(), S::Zero()};
  int64_t i = 0;
  for (; i + 4 * S::kLanes <= count; i += 4 * S::kLanes) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      sums[j] = S::Add(sums[j], function(S::Load(a + i + j * S::kLanes)));
    }
  }
  for (; i + S::kLanes <= count; i += S::kLanes) {
    sums[0] = S::Add(sums[0], function(S::Load(a + i)));
  }
  if (i < count) {
    float buffer[S::kLanes] = {};
    S::Store(buffer, function(LoadPart<S>(a + i, count - i)));
    sums[1] = S::Add(sums[1], LoadPart<S>(buffer, count - i));
  }
  return S::ReduceAdd(S::Add(S::Add(sums[0], sums[1]), S::Add(sums[2], sums[3])));
}

}  // namespace
}  // namespace tessera::kernels::TESSERA_ISA

#endif  // TESSERA_KERNELS_SIMD_ROWS_H_
