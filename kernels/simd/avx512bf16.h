// The SIMD policy of AVX-512 with BF16: 16 lanes, 32 registers. What each primitive does:
// simd/generic.h. MulAddPairs is vdpbf16ps.
#ifndef TESSERA_KERNELS_SIMD_AVX512BF16_H_
#define TESSERA_KERNELS_SIMD_AVX512BF16_H_

#include <immintrin.h>

#include <cstdint>

namespace tessera::kernels::TESSERA_ISA {
namespace {

struct Simd {
  using F = __m512;
  using Pairs = __m512i;
  static constexpr int kLanes = 16;
  static constexpr int kTileRows = 14;
  static constexpr int kAccumulators = 28;
  static constexpr int kStreams = 8;
  static constexpr int kSliceBytes = 16 * 1024;
  static constexpr int kAttentionRows = 4;

  static F Zero() { return _mm512_setzero_ps(); }
  static F Set1(float v) { return _mm512_set1_ps(v); }
  static F Load(const float* p) { return _mm512_loadu_ps(p); }
  static void Store(float* p, F v) { _mm512_storeu_ps(p, v); }
  static F Add(F a, F b) { return _mm512_add_ps(a, b); }
  static F Sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F Mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F Div(F a, F b) { return _mm512_div_ps(a, b); }
  static F Max(F a, F b) { return _mm512_max_ps(a, b); }
  static F Min(F a, F b) { return _mm512_min_ps(a, b); }
  static F Fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F Fnma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
  static F Abs(F v) { return _mm512_andnot_ps(Set1(-0.0f), v); }
  static F CopySign(F magnitude, F sign) {
    return _mm512_or_ps(magnitude, _mm512_and_ps(Set1(-0.0f), sign));
  }
  static F Round(F v) {
    return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static F Pow2(F n) {
    const __m512i exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23));
  }
  static F ZeroWhereLess(F x, F limit, F v) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_NLT_UQ), v);
  }

  static F LoadBf16(const uint16_t* p) {
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
  // Integer arithmetic, not vcvtneps2bf16, which would flush denormals.
  static F RoundBf16(F v) {
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i bias = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    const __m512i rounded = _mm512_mask_mov_epi32(_mm512_add_epi32(bits, bias), nan, quiet);
    return _mm512_castsi512_ps(
        _mm512_and_si512(rounded, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
  }
  static void StoreBf16(uint16_t* p, F v) {
    const __m512i high = _mm512_srli_epi32(_mm512_castps_si512(RoundBf16(v)), 16);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(high));
  }
  static F LoadPairsFirst(const uint32_t* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16));
  }
  static F LoadPairsSecond(const uint32_t* p) {
    return _mm512_castsi512_ps(
        _mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
  }
  static Pairs LoadPairs(const uint32_t* p) { return _mm512_loadu_si512(p); }
  static Pairs Set1Pair(uint32_t pair) { return _mm512_set1_epi32(static_cast<int>(pair)); }
  // Per lane: sum += a.second * b.second, then sum += a.first * b.first; denormals count as zero.
  static F MulAddPairs(Pairs a, Pairs b, F sum) {
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
  }

  static float ReduceAdd(F v) {
    const __m256 x = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_add_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_add_ss(y, _mm_movehdup_ps(y)));
  }
  static float ReduceMax(F v) { return _mm512_reduce_max_ps(v); }
  static void StoreSums4(float* out, F a, F b, F c, F d) {
    const __m256 sums =
        _mm256_hadd_ps(_mm256_hadd_ps(Halve(a), Halve(b)), _mm256_hadd_ps(Halve(c), Halve(d)));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1)));
  }

  static void Prefetch(const char* p) { _mm_prefetch(p, _MM_HINT_T0); }

 private:
  static __m256 Halve(F v) {
    return _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  }
};

}  // namespace
}  // namespace tessera::kernels::TESSERA_ISA

#endif  // TESSERA_KERNELS_SIMD_AVX512BF16_H_
