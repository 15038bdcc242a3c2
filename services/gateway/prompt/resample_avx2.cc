// The loops of resample_kernels.h for AVX2, chosen at run time.
#include <cstring>

#include "services/base/check.h"
#include "services/gateway/prompt/resample_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define TESSERA_AVX2 __attribute__((target("avx2")))

namespace tessera::prompt {
namespace {

// A coefficient is high * 2^11 + low with 0 <= low < 2^11, so that both parts fit the 16 bits of a
// multiply-and-add of pairs. Sums of both parts wrap like 32-bit sums of whole coefficients, so the
// total is exact.
constexpr int kLowBits = 11;
constexpr int32_t kHalf = 1 << (kCoefficientBits - 1);

}  // namespace

bool HasAvx2() {
  static const bool has = __builtin_cpu_supports("avx2") != 0;
  return has;
}

// Per output and group of four pixels: 16 high parts, then 16 low parts. The first 128 bits serve
// pixels 0 and 1, the second pixels 2 and 3, as pairs for red, green, blue and nothing.
std::vector<int16_t> SplitCoefficientsAvx2(const AxisWindows& windows, int64_t groups) {
  std::vector<int16_t> split(windows.first.size() * static_cast<size_t>(groups) * 32, 0);
  for (size_t i = 0; i < windows.first.size(); ++i) {
    for (int64_t k = 0; k < windows.count[i]; ++k) {
      const int32_t coefficient =
          windows.coefficients[i * static_cast<size_t>(windows.stride) + static_cast<size_t>(k)];
      int16_t* group = &split[(i * static_cast<size_t>(groups) + static_cast<size_t>(k / 4)) * 32];
      const int64_t at = k % 4 / 2 * 8 + k % 2;
      for (int64_t c = 0; c < 3; ++c) {
        group[at + 2 * c] = static_cast<int16_t>(coefficient >> kLowBits);
        group[16 + at + 2 * c] = static_cast<int16_t>(coefficient & ((1 << kLowBits) - 1));
      }
    }
  }
  return split;
}

TESSERA_AVX2 void HorizontalAvx2(const AxisWindows& windows, const int16_t* split, int64_t groups,
                                 const uint8_t* in, uint8_t* out) {
  constexpr char z = -1;  // zero byte
  const __m256i pairs = _mm256_setr_epi8(0, z, 3, z, 1, z, 4, z, 2, z, 5, z, z, z, z, z,  //
                                         6, z, 9, z, 7, z, 10, z, 8, z, 11, z, z, z, z, z);
  const __m128i half = _mm_set1_epi32(kHalf);
  const int64_t outputs = static_cast<int64_t>(windows.first.size());
  for (int64_t i = 0; i < outputs; ++i, out += 3) {
    const uint8_t* pixel = in + windows.first[static_cast<size_t>(i)] * 3;
    __m256i high = _mm256_setzero_si256();
    __m256i low = _mm256_setzero_si256();
    for (int64_t g = 0; g < groups; ++g, pixel += 12, split += 32) {
      const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(pixel));
      const __m256i words = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes), pairs);
      const auto* parts = reinterpret_cast<const __m256i*>(split);
      high = _mm256_add_epi32(high, _mm256_madd_epi16(words, _mm256_loadu_si256(parts)));
      low = _mm256_add_epi32(low, _mm256_madd_epi16(words, _mm256_loadu_si256(parts + 1)));
    }
    const __m256i both = _mm256_add_epi32(_mm256_slli_epi32(high, kLowBits), low);
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
    sum = _mm_srai_epi32(_mm_add_epi32(sum, half), kCoefficientBits);
    sum = _mm_packs_epi32(sum, sum);
    const int rgb = _mm_cvtsi128_si32(_mm_packus_epi16(sum, sum));
    std::memcpy(out, &rgb, 4);  // the fourth byte is overwritten by the next pixel
  }
}

TESSERA_AVX2 int64_t VerticalAvx2(const uint8_t* const* rows, const int32_t* coefficients,
                                  int64_t count, int64_t bytes, uint8_t* out) {
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  int64_t x = 0;
  for (; x + 32 <= bytes; x += 32) {
    __m256i sums[4];
    for (auto& sum : sums) sum = _mm256_set1_epi32(kHalf);
    for (int64_t k = 0; k < count; ++k) {
      const __m256i coefficient = _mm256_set1_epi32(coefficients[k]);
      const uint8_t* row = rows[k] + x;
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const __m128i eight = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(row + 8 * j));
        sums[j] =
            _mm256_add_epi32(sums[j], _mm256_mullo_epi32(_mm256_cvtepu8_epi32(eight), coefficient));
      }
    }
    for (auto& sum : sums) sum = _mm256_srai_epi32(sum, kCoefficientBits);
    const __m256i words = _mm256_packus_epi16(_mm256_packs_epi32(sums[0], sums[1]),
                                              _mm256_packs_epi32(sums[2], sums[3]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + x),
                        _mm256_permutevar8x32_epi32(words, order));
  }
  return x;
}

TESSERA_AVX2 int64_t SplitChannelsAvx2(const uint8_t* rgb, int64_t pixels, uint8_t* red,
                                       uint8_t* green, uint8_t* blue) {
  constexpr char z = -1;  // zero byte
  // Which bytes of the first, second and third 16 bytes belong to a channel, and where they go.
  const __m128i masks[3][3] = {{_mm_setr_epi8(0, 3, 6, 9, 12, 15, z, z, z, z, z, z, z, z, z, z),
                                _mm_setr_epi8(z, z, z, z, z, z, 2, 5, 8, 11, 14, z, z, z, z, z),
                                _mm_setr_epi8(z, z, z, z, z, z, z, z, z, z, z, 1, 4, 7, 10, 13)},
                               {_mm_setr_epi8(1, 4, 7, 10, 13, z, z, z, z, z, z, z, z, z, z, z),
                                _mm_setr_epi8(z, z, z, z, z, 0, 3, 6, 9, 12, 15, z, z, z, z, z),
                                _mm_setr_epi8(z, z, z, z, z, z, z, z, z, z, z, 2, 5, 8, 11, 14)},
                               {_mm_setr_epi8(2, 5, 8, 11, 14, z, z, z, z, z, z, z, z, z, z, z),
                                _mm_setr_epi8(z, z, z, z, z, 1, 4, 7, 10, 13, z, z, z, z, z, z),
                                _mm_setr_epi8(z, z, z, z, z, z, z, z, z, z, 0, 3, 6, 9, 12, 15)}};
  uint8_t* const planes[3] = {red, green, blue};
  int64_t i = 0;
  for (; i + 16 <= pixels; i += 16, rgb += 48) {
    const auto* source = reinterpret_cast<const __m128i*>(rgb);
    const __m128i parts[3] = {_mm_loadu_si128(source), _mm_loadu_si128(source + 1),
                              _mm_loadu_si128(source + 2)};
    for (int c = 0; c < 3; ++c) {
      const __m128i channel = _mm_or_si128(_mm_or_si128(_mm_shuffle_epi8(parts[0], masks[c][0]),
                                                        _mm_shuffle_epi8(parts[1], masks[c][1])),
                                           _mm_shuffle_epi8(parts[2], masks[c][2]));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(planes[c] + i), channel);
    }
  }
  return i;
}

}  // namespace tessera::prompt

#else

namespace tessera::prompt {

bool HasAvx2() { return false; }
std::vector<int16_t> SplitCoefficientsAvx2(const AxisWindows&, int64_t) { return {}; }
void HorizontalAvx2(const AxisWindows&, const int16_t*, int64_t, const uint8_t*, uint8_t*) {
  TESSERA_CHECK(false) << "AVX2 kernel on a machine without AVX2";
}
int64_t VerticalAvx2(const uint8_t* const*, const int32_t*, int64_t, int64_t, uint8_t*) {
  return 0;
}
int64_t SplitChannelsAvx2(const uint8_t*, int64_t, uint8_t*, uint8_t*, uint8_t*) { return 0; }

}  // namespace tessera::prompt

#endif
