#include <cmath>

#include "kernels/check.h"
#include "kernels/cpu_stream.h"
#include "kernels/ops.h"

namespace tessera::kernels::TESSERA_ISA {

void RmsNorm(Stream& stream, ConstMat x, const float* gamma, float eps, Mat y) {
  KERNEL_CHECK(x.rows == y.rows && x.cols == y.cols);
  ParallelRanges(stream, x.rows, x.cols * 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      double sum = 0;
      for (int64_t c = 0; c < x.cols; ++c) sum += double{x.row(t)[c]} * x.row(t)[c];
      const double mean_square = sum / static_cast<double>(x.cols);
      const float scale = static_cast<float>(1.0 / std::sqrt(mean_square + eps));
      for (int64_t c = 0; c < x.cols; ++c) y.row(t)[c] = x.row(t)[c] * scale * gamma[c];
    }
  });
}

void LayerNorm(Stream& stream, ConstMat x, const float* gamma, const float* beta, float eps,
               Mat y) {
  KERNEL_CHECK(x.rows == y.rows && x.cols == y.cols);
  ParallelRanges(stream, x.rows, x.cols * 6, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      double sum = 0;
      for (int64_t c = 0; c < x.cols; ++c) sum += x.row(t)[c];
      const double mean = sum / static_cast<double>(x.cols);
      double squares = 0;
      for (int64_t c = 0; c < x.cols; ++c) {
        const double centred = x.row(t)[c] - mean;
        squares += centred * centred;
      }
      const double scale = 1.0 / std::sqrt(squares / static_cast<double>(x.cols) + eps);
      for (int64_t c = 0; c < x.cols; ++c) {
        y.row(t)[c] = static_cast<float>((x.row(t)[c] - mean) * scale) * gamma[c] + beta[c];
      }
    }
  });
}

void Add(Stream& stream, ConstMat x, Mat y) {
  KERNEL_CHECK(x.rows == y.rows && x.cols == y.cols);
  ParallelRanges(stream, x.rows, x.cols, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t c = 0; c < x.cols; ++c) y.row(t)[c] += x.row(t)[c];
    }
  });
}

}  // namespace tessera::kernels::TESSERA_ISA
