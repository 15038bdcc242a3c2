#include "kernels/bf16.h"
#include "kernels/check.h"
#include "kernels/cpu_stream.h"
#include "kernels/ops.h"
#include TESSERA_SIMD_HEADER

namespace tessera::kernels::TESSERA_ISA {
namespace {

void WidenBf16(const uint16_t* in, int64_t count, float* out) {
  int64_t i = 0;
  for (; i + Simd::kLanes <= count; i += Simd::kLanes) Simd::Store(out + i, Simd::LoadBf16(in + i));
  for (; i < count; ++i) out[i] = Bf16ToFloat(in[i]);
}

}  // namespace

void GatherRows(Stream& stream, const void* table, DType dtype, const int32_t* ids, int64_t count,
                Mat y) {
  KERNEL_CHECK(y.rows == count);
  ParallelRanges(stream, count, y.cols / 2, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = ids[i] * y.cols;
      float* out = y.row(i);
      if (dtype == DType::kF32) {
        __builtin_memcpy(out, static_cast<const float*>(table) + first, y.cols * sizeof(float));
      } else if (dtype == DType::kBF16) {
        WidenBf16(static_cast<const uint16_t*>(table) + first, y.cols, out);
      } else {
        const uint16_t* half = static_cast<const uint16_t*>(table) + first;
        for (int64_t c = 0; c < y.cols; ++c) out[c] = HalfToFloat(half[c]);
      }
    }
  });
}

}  // namespace tessera::kernels::TESSERA_ISA
