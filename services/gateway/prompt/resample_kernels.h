// The two inner loops of resample.cc, once portable and once for AVX2. All arithmetic is on
// integers, so both give the same bytes. Internal to services/gateway/prompt.
#ifndef TESSERA_SERVICES_GATEWAY_PROMPT_RESAMPLE_KERNELS_H_
#define TESSERA_SERVICES_GATEWAY_PROMPT_RESAMPLE_KERNELS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "services/gateway/prompt/image.h"
#include "services/gateway/prompt/resample.h"

namespace tessera::prompt {

inline constexpr int kCoefficientBits = 22;  // fractional bits of a coefficient

// One axis: output i is the sum over k < count[i] of coefficients[i * stride + k] * input[first[i]
// + k].
struct AxisWindows {
  std::vector<int64_t> first;
  std::vector<int64_t> count;
  std::vector<int32_t> coefficients;  // [outputs, stride], zero past count
  int64_t stride = 0;
  int64_t max_count = 0;
};

// Horizontal pass over one row of RGB pixels. `in` is readable for row_padding_bytes() bytes past
// its last pixel, `out` is writable for 4 bytes past its last pixel.
class HorizontalKernel {
 public:
  // avx2: only where HasAvx2().
  HorizontalKernel(const AxisWindows& windows, bool avx2);
  size_t row_padding_bytes() const { return static_cast<size_t>(groups_) * 12 + 32; }
  void Run(const uint8_t* in, uint8_t* out) const;

 private:
  const AxisWindows& windows_;
  const bool avx2_;
  int64_t groups_ = 0;          // of four coefficients
  std::vector<int16_t> split_;  // AVX2: [outputs, groups, 2, 16], see resample_avx2.cc
};

// Vertical pass: out[x] from rows[k][x] for k < count and x < bytes.
void VerticalPass(const uint8_t* const* rows, const int32_t* coefficients, int64_t count,
                  int64_t bytes, bool avx2, uint8_t* out);

// ResampleBicubic with a stated choice of kernels.
void ResampleBicubicWith(const Image& image, int64_t out_width, int64_t out_height, bool avx2,
                         RowSink sink);

// Row of RGB pixels to three planes.
void SplitChannels(const uint8_t* rgb, int64_t pixels, uint8_t* red, uint8_t* green, uint8_t* blue);

// Defined on every machine; false and never called elsewhere than on x86-64 with AVX2.
bool HasAvx2();
std::vector<int16_t> SplitCoefficientsAvx2(const AxisWindows& windows, int64_t groups);
void HorizontalAvx2(const AxisWindows& windows, const int16_t* split, int64_t groups,
                    const uint8_t* in, uint8_t* out);
// Returns how many leading bytes it did; the rest is the caller's.
int64_t VerticalAvx2(const uint8_t* const* rows, const int32_t* coefficients, int64_t count,
                     int64_t bytes, uint8_t* out);
int64_t SplitChannelsAvx2(const uint8_t* rgb, int64_t pixels, uint8_t* red, uint8_t* green,
                          uint8_t* blue);

}  // namespace tessera::prompt

#endif  // TESSERA_SERVICES_GATEWAY_PROMPT_RESAMPLE_KERNELS_H_
