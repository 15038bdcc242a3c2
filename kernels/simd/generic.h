// The SIMD policy of the x86-64-v2 baseline (SSE4.2, no FMA): 4 lanes, 16 registers.
//
// A policy is the only place where a kernel touches intrinsics. F is a vector of kLanes floats.
//   Max, Min             the second operand where either is NaN (so Max(limit, x) keeps a NaN x)
//   Fma(a, b, c)         a * b + c;  Fnma: c - a * b;  fused where the machine can
//   Round                to the nearest integer, ties to even;  Pow2(n): 2^n for whole n in [-126,
//   127] ZeroWhereLess        v, but +0 in lanes where x < limit LoadBf16             kLanes bf16
//   widened;  RoundBf16, StoreBf16: nearest even, NaN stays NaN LoadPairsFirst       of kLanes
//   (first, second) bf16 pairs the first elements, widened StoreSums4           out[0..3] = sums
//   over the lanes of a, b, c, d in one fixed order
// kTileRows x kAccumulators shape the GEMM tile, kStreams bounds the panels read at once,
// kSliceBytes is the share of the L1 cache given to the weight, kAttentionRows queries share a
// load.
#ifndef TESSERA_KERNELS_SIMD_GENERIC_H_
#define TESSERA_KERNELS_SIMD_GENERIC_H_

#include <nmmintrin.h>

#include <cstdint>

namespace tessera::kernels::TESSERA_ISA {
namespace {

struct Simd {
  using F = __m128;
  static constexpr int kLanes = 4;
  static constexpr int kTileRows = 3;
  static constexpr int kAccumulators = 12;
  static constexpr int kStreams = 2;
  static constexpr int kSliceBytes = 12 * 1024;
  static constexpr int kAttentionRows = 2;

  static F Zero() { return _mm_setzero_ps(); }
  static F Set1(float v) { return _mm_set1_ps(v); }
  static F Load(const float* p) { return _mm_loadu_ps(p); }
  static void Store(float* p, F v) { _mm_storeu_ps(p, v); }
  static F Add(F a, F b) { return _mm_add_ps(a, b); }
  static F Sub(F a, F b) { return _mm_sub_ps(a, b); }
  static F Mul(F a, F b) { return _mm_mul_ps(a, b); }
  static F Div(F a, F b) { return _mm_div_ps(a, b); }
  static F Max(F a, F b) { return _mm_max_ps(a, b); }
  static F Min(F a, F b) { return _mm_min_ps(a, b); }
  static F Fma(F a, F b, F c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }
  static F Fnma(F a, F b, F c) { return _mm_sub_ps(c, _mm_mul_ps(a, b)); }
  static F Abs(F v) { return _mm_andnot_ps(Set1(-0.0f), v); }
  static F CopySign(F magnitude, F sign) {
    return _mm_or_ps(magnitude, _mm_and_ps(Set1(-0.0f), sign));
  }
  static F Round(F v) { return _mm_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static F Pow2(F n) {
    const __m128i exponent = _mm_add_epi32(_mm_cvtps_epi32(n), _mm_set1_epi32(127));
    return _mm_castsi128_ps(_mm_slli_epi32(exponent, 23));
  }
  static F ZeroWhereLess(F x, F limit, F v) { return _mm_andnot_ps(_mm_cmplt_ps(x, limit), v); }

  static F LoadBf16(const uint16_t* p) {
    const __m128i half = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return _mm_castsi128_ps(_mm_slli_epi32(_mm_cvtepu16_epi32(half), 16));
  }
  static F RoundBf16(F v) {
    const __m128i bits = _mm_castps_si128(v);
    const __m128i odd = _mm_and_si128(_mm_srli_epi32(bits, 16), _mm_set1_epi32(1));
    const __m128i bias = _mm_add_epi32(odd, _mm_set1_epi32(0x7fff));
    const __m128i quiet = _mm_or_si128(bits, _mm_set1_epi32(0x400000));
    const __m128i nan = _mm_castps_si128(_mm_cmpunord_ps(v, v));
    const __m128i rounded = _mm_blendv_epi8(_mm_add_epi32(bits, bias), quiet, nan);
    return _mm_castsi128_ps(_mm_and_si128(rounded, _mm_set1_epi32(static_cast<int>(0xffff0000u))));
  }
  static void StoreBf16(uint16_t* p, F v) {
    const __m128i high = _mm_srli_epi32(_mm_castps_si128(RoundBf16(v)), 16);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi32(high, high));
  }
  static F LoadPairsFirst(const uint32_t* p) {
    const __m128i pairs = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm_castsi128_ps(_mm_slli_epi32(pairs, 16));
  }
  static F LoadPairsSecond(const uint32_t* p) {
    const __m128i pairs = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm_castsi128_ps(_mm_and_si128(pairs, _mm_set1_epi32(static_cast<int>(0xffff0000u))));
  }

  static float ReduceAdd(F v) {
    const __m128 x = _mm_add_ps(v, _mm_movehl_ps(v, v));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
  }
  static float ReduceMax(F v) {
    const __m128 x = _mm_max_ps(v, _mm_movehl_ps(v, v));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
  }
  static void StoreSums4(float* out, F a, F b, F c, F d) {
    _mm_storeu_ps(out, _mm_hadd_ps(_mm_hadd_ps(a, b), _mm_hadd_ps(c, d)));
  }

  static void Prefetch(const char* p) { _mm_prefetch(p, _MM_HINT_T0); }
};

}  // namespace
}  // namespace tessera::kernels::TESSERA_ISA

#endif  // TESSERA_KERNELS_SIMD_GENERIC_H_
