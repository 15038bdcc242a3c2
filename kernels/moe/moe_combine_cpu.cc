#include "kernels/check.h"
#include "kernels/cpu_stream.h"
#include "kernels/ops.h"
#include "kernels/simd/rows.h"
#include TESSERA_SIMD_HEADER

namespace tessera::kernels::TESSERA_ISA {
namespace {

using F = Simd::F;

// y[c] = Σ_j weights[j] * x[slots[j], c], j in order from a zero sum.
void CombineRow(ConstMat x, const int32_t* slots, const float* weights, int64_t top_k, int64_t cols,
                float* y) {
  int64_t c = 0;
  for (; c + Simd::kLanes <= cols; c += Simd::kLanes) {
    F sum = Simd::Zero();
    for (int64_t j = 0; j < top_k; ++j) {
      sum = Simd::Fma(Simd::Set1(weights[j]), Simd::Load(x.row(slots[j]) + c), sum);
    }
    Simd::Store(y + c, sum);
  }
  if (c == cols) return;
  F sum = Simd::Zero();
  for (int64_t j = 0; j < top_k; ++j) {
    const F part = LoadPart<Simd>(x.row(slots[j]) + c, cols - c);
    sum = Simd::Fma(Simd::Set1(weights[j]), part, sum);
  }
  StorePart<Simd>(y + c, cols - c, sum);
}

}  // namespace

void MoeCombine(Stream& stream, ConstMat x, const int32_t* slots, const float* weights,
                int64_t top_k, Mat y) {
  KERNEL_CHECK(x.cols == y.cols && top_k >= 0);
  ParallelRanges(stream, y.rows, y.cols * top_k / 2, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const int32_t* row_slots = slots + t * top_k;
      for (int64_t j = 0; j < top_k; ++j) {
        KERNEL_CHECK(row_slots[j] >= 0 && row_slots[j] < x.rows);
      }
      CombineRow(x, row_slots, weights + t * top_k, top_k, y.cols, y.row(t));
    }
  });
}

}  // namespace tessera::kernels::TESSERA_ISA
