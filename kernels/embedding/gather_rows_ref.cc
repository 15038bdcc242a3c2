#include "kernels/bf16.h"
#include "kernels/check.h"
#include "kernels/cpu_stream.h"
#include "kernels/ops.h"

namespace tessera::kernels::TESSERA_ISA {

void GatherRows(Stream& stream, const void* table, DType dtype, const int32_t* ids, int64_t count,
                Mat y) {
  KERNEL_CHECK(y.rows == count);
  ParallelRanges(stream, count, y.cols, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = ids[i] * y.cols;
      float* out = y.row(i);
      const auto* narrow = static_cast<const uint16_t*>(table) + first;
      for (int64_t c = 0; c < y.cols; ++c) {
        if (dtype == DType::kF32) {
          out[c] = static_cast<const float*>(table)[first + c];
        } else {
          out[c] = dtype == DType::kBF16 ? Bf16ToFloat(narrow[c]) : HalfToFloat(narrow[c]);
        }
      }
    }
  });
}

}  // namespace tessera::kernels::TESSERA_ISA
