#include "kernels/check.h"
#include "kernels/cpu_stream.h"
#include "kernels/ops.h"

namespace tessera::kernels::TESSERA_ISA {

void MoeCombine(Stream& stream, ConstMat x, const int32_t* slots, const float* weights,
                int64_t top_k, Mat y) {
  KERNEL_CHECK(x.cols == y.cols && top_k >= 0);
  ParallelRanges(stream, y.rows, y.cols * top_k * 2, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      float* out = y.row(t);
      for (int64_t c = 0; c < y.cols; ++c) out[c] = 0;
      for (int64_t j = 0; j < top_k; ++j) {
        const float weight = weights[t * top_k + j];
        KERNEL_CHECK(slots[t * top_k + j] >= 0 && slots[t * top_k + j] < x.rows);
        const float* in = x.row(slots[t * top_k + j]);
        for (int64_t c = 0; c < y.cols; ++c) out[c] += weight * in[c];
      }
    }
  });
}

}  // namespace tessera::kernels::TESSERA_ISA
