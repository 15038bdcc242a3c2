#include "kernels/check.h"
#include "kernels/cpu_stream.h"
#include "kernels/ops.h"
#include "kernels/simd/rows.h"
#include TESSERA_SIMD_HEADER

namespace tessera::kernels::TESSERA_ISA {

using F = Simd::F;

void RmsNorm(Stream& stream, ConstMat x, const float* gamma, float eps, Mat y) {
  KERNEL_CHECK(x.rows == y.rows && x.cols == y.cols);
  ParallelRanges(stream, x.rows, x.cols, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const float* in = x.row(t);
      const float squares = SumRow<Simd>(in, x.cols, [](F v) { return Simd::Mul(v, v); });
      const float mean_square = squares / static_cast<float>(x.cols);
      const F scale = Simd::Set1(1.0f / __builtin_sqrtf(mean_square + eps));
      MapRows<Simd>(in, gamma, x.cols, y.row(t),
                    [scale](F v, F g) { return Simd::Mul(Simd::Mul(v, scale), g); });
    }
  });
}

void LayerNorm(Stream& stream, ConstMat x, const float* gamma, const float* beta, float eps,
               Mat y) {
  KERNEL_CHECK(x.rows == y.rows && x.cols == y.cols);
  ParallelRanges(stream, x.rows, 2 * x.cols, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const float* in = x.row(t);
      float* out = y.row(t);
      const float count = static_cast<float>(x.cols);
      const F mean = Simd::Set1(SumRow<Simd>(in, x.cols, [](F v) { return v; }) / count);
      const float variance = SumRow<Simd>(in, x.cols,
                                          [mean](F v) {
                                            const F centred = Simd::Sub(v, mean);
                                            return Simd::Mul(centred, centred);
                                          }) /
                             count;
      const F scale = Simd::Set1(1.0f / __builtin_sqrtf(variance + eps));
      MapRows<Simd>(in, gamma, x.cols, out, [mean, scale](F v, F g) {
        return Simd::Mul(Simd::Mul(Simd::Sub(v, mean), scale), g);
      });
      MapRows<Simd>(out, beta, x.cols, out, [](F v, F b) { return Simd::Add(v, b); });
    }
  });
}

void Add(Stream& stream, ConstMat x, Mat y) {
  KERNEL_CHECK(x.rows == y.rows && x.cols == y.cols);
  ParallelRanges(stream, x.rows, x.cols / 2, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      MapRows<Simd>(y.row(t), x.row(t), x.cols, y.row(t), [](F a, F b) { return Simd::Add(a, b); });
    }
  });
}

}  // namespace tessera::kernels::TESSERA_ISA
