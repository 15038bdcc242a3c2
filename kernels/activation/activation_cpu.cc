#include "kernels/check.h"
#include "kernels/cpu_stream.h"
#include "kernels/ops.h"
#include "kernels/simd/math.h"
#include "kernels/simd/rows.h"
#include TESSERA_SIMD_HEADER

namespace tessera::kernels::TESSERA_ISA {
namespace {

using F = Simd::F;

// Rough cost of an element with an exponential, in simple vector operations.
constexpr int64_t kExpWork = 4;

template <typename Function>
__attribute__((always_inline)) inline void ApplyInPlace(Stream& stream, int64_t work, Mat x,
                                                        const Function& function) {
  ParallelRanges(stream, x.rows, x.cols * work, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) MapRow<Simd>(x.row(t), x.cols, x.row(t), function);
  });
}

}  // namespace

void SiluMul(Stream& stream, ConstMat gate_up, Mat y) {
  KERNEL_CHECK(gate_up.rows == y.rows && gate_up.cols == 2 * y.cols);
  ParallelRanges(stream, y.rows, y.cols * kExpWork, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      MapRows<Simd>(gate_up.row(t), gate_up.row(t) + y.cols, y.cols, y.row(t),
                    [](F gate, F up) { return Simd::Mul(TimesLogistic<Simd>(gate, gate), up); });
    }
  });
}

void GeluTanh(Stream& stream, Mat x) {
  // (1 + tanh u) / 2 = 1 / (1 + e^-2u)
  ApplyInPlace(stream, kExpWork, x, [](F v) {
    const F cubic = Simd::Fma(Simd::Mul(v, v), Simd::Set1(0.044715f), Simd::Set1(1.0f));
    const F twice_u = Simd::Mul(Simd::Mul(v, Simd::Set1(1.59576912160573071f)), cubic);
    return TimesLogistic<Simd>(v, twice_u);
  });
}

void GeluErf(Stream& stream, Mat x) {
  ApplyInPlace(stream, kExpWork, x, [](F v) { return GeluOfErf<Simd>(v); });
}

void RoundToBf16(Stream& stream, Mat x) {
  ApplyInPlace(stream, 1, x, [](F v) { return Simd::RoundBf16(v); });
}

}  // namespace tessera::kernels::TESSERA_ISA
