#include <cmath>

#include "kernels/bf16.h"
#include "kernels/check.h"
#include "kernels/cpu_stream.h"
#include "kernels/ops.h"

namespace tessera::kernels::TESSERA_ISA {
namespace {

constexpr int64_t kTranscendentalWork = 16;

template <typename Function>
void ApplyInPlace(Stream& stream, int64_t work, Mat x, const Function& function) {
  ParallelRanges(stream, x.rows, x.cols * work, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t c = 0; c < x.cols; ++c) x.row(t)[c] = function(x.row(t)[c]);
    }
  });
}

}  // namespace

void SiluMul(Stream& stream, ConstMat gate_up, Mat y) {
  KERNEL_CHECK(gate_up.rows == y.rows && gate_up.cols == 2 * y.cols);
  const int64_t work = y.cols * kTranscendentalWork;
  ParallelRanges(stream, y.rows, work, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const float* gate = gate_up.row(t);
      const float* up = gate + y.cols;
      for (int64_t c = 0; c < y.cols; ++c) {
        y.row(t)[c] = gate[c] / (1.0f + std::exp(-gate[c])) * up[c];
      }
    }
  });
}

void GeluTanh(Stream& stream, Mat x) {
  ApplyInPlace(stream, kTranscendentalWork, x, [](float v) {
    const double u = 0.79788456080286535588 * (v + 0.044715 * v * v * v);
    return static_cast<float>(0.5 * v * (1.0 + std::tanh(u)));
  });
}

void GeluErf(Stream& stream, Mat x) {
  ApplyInPlace(stream, kTranscendentalWork, x, [](float v) {
    return static_cast<float>(0.5 * v * (1.0 + std::erf(v * 0.70710678118654752440)));
  });
}

void RoundToBf16(Stream& stream, Mat x) {
  ApplyInPlace(stream, 2, x, [](float v) { return Bf16Rounded(v); });
}

}  // namespace tessera::kernels::TESSERA_ISA
