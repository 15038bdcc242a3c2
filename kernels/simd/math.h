// exp, logistic and erf on a SIMD policy, for finite results of about 2 units in the last place
// (exp) and 2e-7 absolute (erf). Every lane is computed alike, whatever its neighbours.
#ifndef TESSERA_KERNELS_SIMD_MATH_H_
#define TESSERA_KERNELS_SIMD_MATH_H_

namespace tessera::kernels::TESSERA_ISA {
namespace {

// e^x by x = n ln 2 + r, |r| <= ln 2 / 2, and a polynomial of degree 6. 0 below -87.3 (and for
// -inf), 1.6e38 above 88; NaN stays NaN.
template <typename S>
__attribute__((always_inline)) inline typename S::F Exp(typename S::F x) {
  using F = typename S::F;
  const F lowest = S::Set1(-87.3f);
  const F clamped = S::Min(S::Set1(88.0f), S::Max(lowest, x));
  const F n = S::Round(S::Mul(clamped, S::Set1(1.44269504088896341f)));
  F r = S::Fnma(n, S::Set1(0.693359375f), clamped);
  r = S::Fnma(n, S::Set1(-2.12194440e-4f), r);
  F p = S::Set1(1.9875691500e-4f);
  p = S::Fma(p, r, S::Set1(1.3981999507e-3f));
  p = S::Fma(p, r, S::Set1(8.3334519073e-3f));
  p = S::Fma(p, r, S::Set1(4.1665795894e-2f));
  p = S::Fma(p, r, S::Set1(1.6666665459e-1f));
  p = S::Fma(p, r, S::Set1(5.0000001201e-1f));
  p = S::Fma(p, S::Mul(r, r), S::Add(r, S::Set1(1.0f)));
  return S::ZeroWhereLess(x, lowest, S::Mul(p, S::Pow2(n)));
}

// x / (1 + e^-slope)
template <typename S>
__attribute__((always_inline)) inline typename S::F TimesLogistic(typename S::F x,
                                                                  typename S::F slope) {
  const typename S::F one = S::Set1(1.0f);
  return S::Div(x, S::Add(one, Exp<S>(S::Sub(S::Zero(), slope))));
}

// x/2 (1 + erf(x / sqrt 2)). With erfc(z) = t P(t) e^(-z²), t = 1 / (1 + 0.3275911 z), z >= 0
// (Abramowitz and Stegun 7.1.26, error 1.5e-7): no cancellation in the negative tail.
template <typename S>
__attribute__((always_inline)) inline typename S::F GeluOfErf(typename S::F x) {
  using F = typename S::F;
  const F one = S::Set1(1.0f);
  const F z = S::Mul(S::Abs(x), S::Set1(0.70710678118654752f));
  const F t = S::Div(one, S::Fma(z, S::Set1(0.3275911f), one));
  F p = S::Set1(1.061405429f);
  p = S::Fma(p, t, S::Set1(-1.453152027f));
  p = S::Fma(p, t, S::Set1(1.421413741f));
  p = S::Fma(p, t, S::Set1(-0.284496736f));
  p = S::Fma(p, t, S::Set1(0.254829592f));
  const F erfc = S::Mul(S::Mul(p, t), Exp<S>(S::Sub(S::Zero(), S::Mul(z, z))));
  // 1 + erf(x / sqrt 2) = 1 + sign(x) (1 - erfc): erfc for x < 0, 2 - erfc for x >= 0.
  const F half = S::Set1(0.5f);
  const F signed_half = S::CopySign(half, x);
  const F cdf = S::Add(S::Add(half, signed_half), S::Sub(S::Zero(), S::Mul(signed_half, erfc)));
  return S::Mul(x, cdf);
}

}  // namespace
}  // namespace tessera::kernels::TESSERA_ISA

#endif  // TESSERA_KERNELS_SIMD_MATH_H_
