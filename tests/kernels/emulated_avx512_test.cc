// The kernels of the AVX-512 BF16 table on a machine without it: the same microkernel, driver,
// attention and row helpers, instantiated for a policy that does with plain arrays what the
// instructions do. What is left untested here are the one-line wrappers of simd/avx512bf16.h,
// which the last tests compare with the emulation where the processor has them.
#define TESSERA_ISA emulated_avx512

#include <cmath>
#include <limits>

#include "kernels/attention/causal_tile.h"
#include "kernels/gemm/gemm_driver.h"
#include "kernels/gemm/gemm_policies.h"
#include "kernels/simd/math.h"
#include "kernels/simd/rows.h"
#include "tests/kernels/kernel_test_support.h"

namespace tessera::kernels::emulated_avx512 {
namespace {

// vdpbf16ps takes denormal inputs as zero and flushes denormal results.
float FlushDenormal(float value) {
  return std::fpclassify(value) == FP_SUBNORMAL ? std::copysign(0.0f, value) : value;
}

struct Emulated {
  struct F {
    float lane[16];
  };
  struct Pairs {
    uint32_t lane[16];
  };
  static constexpr int kLanes = 16;
  static constexpr int kTileRows = 14;
  static constexpr int kAccumulators = 28;
  static constexpr int kStreams = 8;
  static constexpr int kSliceBytes = 2 * 1024;  // small, so that slicing happens in small tests
  static constexpr int kAttentionRows = 4;

  template <typename Function>
  static F Map(const Function& function) {
    F out;
    for (int i = 0; i < 16; ++i) out.lane[i] = function(i);
    return out;
  }
  static F Zero() { return Set1(0); }
  static F Set1(float v) {
    return Map([&](int) { return v; });
  }
  static F Load(const float* p) {
    return Map([&](int i) { return p[i]; });
  }
  static void Store(float* p, F v) {
    for (int i = 0; i < 16; ++i) p[i] = v.lane[i];
  }
  static F Add(F a, F b) {
    return Map([&](int i) { return a.lane[i] + b.lane[i]; });
  }
  static F Sub(F a, F b) {
    return Map([&](int i) { return a.lane[i] - b.lane[i]; });
  }
  static F Mul(F a, F b) {
    return Map([&](int i) { return a.lane[i] * b.lane[i]; });
  }
  static F Div(F a, F b) {
    return Map([&](int i) { return a.lane[i] / b.lane[i]; });
  }
  static F Max(F a, F b) {
    return Map([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  static F Min(F a, F b) {
    return Map([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  static F Fma(F a, F b, F c) {
    return Map([&](int i) { return std::fma(a.lane[i], b.lane[i], c.lane[i]); });
  }
  static F Fnma(F a, F b, F c) {
    return Map([&](int i) { return std::fma(-a.lane[i], b.lane[i], c.lane[i]); });
  }
  static F Abs(F v) {
    return Map([&](int i) { return std::abs(v.lane[i]); });
  }
  static F CopySign(F magnitude, F sign) {
    return Map([&](int i) { return std::copysign(magnitude.lane[i], sign.lane[i]); });
  }
  static F Round(F v) {
    return Map([&](int i) { return std::nearbyint(v.lane[i]); });
  }
  static F Pow2(F n) {
    return Map([&](int i) {
      const int whole = std::isnan(n.lane[i]) ? 0 : static_cast<int>(n.lane[i]);
      return std::ldexp(1.0f, whole);
    });
  }
  static F ZeroWhereLess(F x, F limit, F v) {
    return Map([&](int i) { return x.lane[i] < limit.lane[i] ? 0.0f : v.lane[i]; });
  }
  static F LoadBf16(const uint16_t* p) {
    return Map([&](int i) { return Bf16ToFloat(p[i]); });
  }
  static F RoundBf16(F v) {
    return Map([&](int i) { return Bf16Rounded(v.lane[i]); });
  }
  static void StoreBf16(uint16_t* p, F v) {
    for (int i = 0; i < 16; ++i) p[i] = FloatToBf16(v.lane[i]);
  }
  static F LoadPairsFirst(const uint32_t* p) {
    return Map([&](int i) { return FloatOf(p[i] << 16); });
  }
  static F LoadPairsSecond(const uint32_t* p) {
    return Map([&](int i) { return FloatOf(p[i] & 0xffff0000u); });
  }
  static Pairs LoadPairs(const uint32_t* p) {
    Pairs out;
    for (int i = 0; i < 16; ++i) out.lane[i] = p[i];
    return out;
  }
  static Pairs Set1Pair(uint32_t pair) {
    Pairs out;
    for (uint32_t& lane : out.lane) lane = pair;
    return out;
  }
  static F MulAddPairs(Pairs a, Pairs b, F sum) {
    const auto first = [](uint32_t pair) { return FlushDenormal(FloatOf(pair << 16)); };
    const auto second = [](uint32_t pair) { return FlushDenormal(FloatOf(pair & 0xffff0000u)); };
    return Map([&](int i) {
      float total = FlushDenormal(sum.lane[i]);
      total = FlushDenormal(std::fma(second(a.lane[i]), second(b.lane[i]), total));
      return FlushDenormal(std::fma(first(a.lane[i]), first(b.lane[i]), total));
    });
  }
  // Halves, then quarters, then pairs, as the extracting adds do.
  static float ReduceAdd(F v) {
    for (int width = 8; width >= 1; width /= 2) {
      for (int i = 0; i < width; ++i) v.lane[i] += v.lane[i + width];
    }
    return v.lane[0];
  }
  static float ReduceMax(F v) {
    float max = v.lane[0];
    for (const float lane : v.lane) max = lane > max ? lane : max;
    return max;
  }
  static void StoreSums4(float* out, F a, F b, F c, F d) {
    const F* vectors[4] = {&a, &b, &c, &d};
    for (int j = 0; j < 4; ++j) {
      float half[8];
      for (int i = 0; i < 8; ++i) half[i] = vectors[j]->lane[i] + vectors[j]->lane[i + 8];
      out[j] =
          ((half[0] + half[1]) + (half[2] + half[3])) + ((half[4] + half[5]) + (half[6] + half[7]));
    }
  }
  static void Prefetch(const char*) {}
};

struct Problem {
  Problem(int64_t rows, int64_t n, int64_t k, DType dtype)
      : x(Matrix::Random(rows, k, 71)),
        weight(*KernelsFor(Backend::kReference), dtype, Matrix::Random(n, k, 72)),
        bias(RandomFloats(n, 73)) {}
  Matrix x;
  TestWeight weight;
  std::vector<float> bias;
};

template <typename P>
Matrix Multiply(Problem& problem, TestStream& stream, int64_t first_row, int64_t rows) {
  const PackedWeight& weight = problem.weight.view();
  Matrix y(rows, weight.n, 3);
  const GemmItem item{.x = {problem.x.row(first_row), rows, weight.k, weight.k},
                      .weight = &weight,
                      .bias = problem.bias.data(),
                      .y = y.view()};
  RunGemm<P>(stream, &item, 1);
  EXPECT_TRUE(y.GapsUntouched());
  return y;
}

template <typename P>
void ExpectGemm(DType dtype, bool round_input) {
  struct Shape {
    int64_t rows, n, k;
  };
  TestStream stream(2);
  for (const Shape s : {Shape{1, 150, 33}, Shape{2, 130, 64}, Shape{13, 40, 65}, Shape{14, 64, 90},
                        Shape{15, 33, 128}, Shape{45, 70, 131}}) {
    Problem problem(s.rows, s.n, s.k, dtype);
    const Matrix y = Multiply<P>(problem, stream, 0, s.rows);
    for (int64_t t = 0; t < s.rows; ++t) {
      const Matrix alone = Multiply<P>(problem, stream, t, 1);
      ASSERT_TRUE(SameBytes(alone.row(0), y.row(t), s.n)) << "row " << t << " of " << s.rows;
      for (int64_t n = 0; n < s.n; ++n) {
        double sum = problem.bias[static_cast<size_t>(n)];
        double magnitude = std::abs(sum);
        for (int64_t k = 0; k < s.k; ++k) {
          const float xi = problem.x.at(t, k);
          const double product =
              double{round_input ? Bf16Rounded(xi) : xi} * problem.weight.values().at(n, k);
          sum += product;
          magnitude += std::abs(product);
        }
        ASSERT_NEAR(y.at(t, n), sum, (static_cast<double>(s.k) + 2) * 6e-8 * magnitude);
      }
    }
  }
}

TEST(EmulatedAvx512, PairProductMatchesDoubleSums) {
  ExpectGemm<PairProduct<Emulated>>(DType::kBF16, true);
}
TEST(EmulatedAvx512, WidenedProductMatchesDoubleSums) {
  ExpectGemm<WidenedProduct<Emulated, false>>(DType::kBF16, false);
}
TEST(EmulatedAvx512, F32ProductMatchesDoubleSums) {
  ExpectGemm<F32Product<Emulated>>(DType::kF32, false);
}

// The order of vdpbf16ps: the second of a pair first.
TEST(EmulatedAvx512, PairProductAddsTheSecondElementFirst) {
  const float x[2] = {1.0f, 1.0f};
  const Matrix w = [] {
    Matrix m(1, 2);
    m.at(0, 0) = 1.0f;
    m.at(0, 1) = std::ldexp(1.0f, 25);  // 2^25 + 1 loses the 1
    return m;
  }();
  const TestWeight weight(*KernelsFor(Backend::kReference), DType::kBF16, w);
  float y = 0;
  const float bias = -std::ldexp(1.0f, 25);
  TestStream stream(1);
  const GemmItem item{
      .x = {x, 1, 2, 2}, .weight = &weight.view(), .bias = &bias, .y = {&y, 1, 1, 1}};
  RunGemm<PairProduct<Emulated>>(stream, &item, 1);
  EXPECT_EQ(y, 0.0f);
}

TEST(EmulatedAvx512, ExpIsWithinTwoUnits) {
  for (float x = -87.0f; x < 88.0f; x += 0.01f) {
    const float y = Exp<Emulated>(Emulated::Set1(x)).lane[3];
    const double exact = std::exp(double{x});
    ASSERT_NEAR(y / exact, 1.0, 2.5e-7) << x;
  }
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(Exp<Emulated>(Emulated::Set1(-infinity)).lane[0], 0.0f);
  EXPECT_EQ(Exp<Emulated>(Emulated::Set1(0.0f)).lane[0], 1.0f);
  EXPECT_TRUE(std::isnan(Exp<Emulated>(Emulated::Set1(NAN)).lane[0]));
}

TEST(EmulatedAvx512, AttentionTileScoresAndSumsAgreeForOneAndManyRows) {
  constexpr int64_t kDim = 64, kCount = 51;
  const Matrix q = Matrix::Random(4, kDim, 81);
  const Matrix key = Matrix::Random(kCount, kDim, 82);
  Matrix many(4, kScoreStride), one(4, kScoreStride);
  ScoreRows<Emulated, 4>(q.row(0), kDim, key.row(0), kDim, kCount, kDim, many.view().data);
  Matrix sums_many(4, kDim), sums_one(4, kDim);
  for (int64_t i = 0; i < 4; ++i) {
    for (int64_t d = 0; d < kDim; ++d) sums_many.at(i, d) = sums_one.at(i, d) = 0.5f;
  }
  AccumulateRows<Emulated, 4>(many.row(0), key.row(0), kDim, kCount, kDim, sums_many.view().data,
                              kDim);
  for (int64_t i = 0; i < 4; ++i) {
    ScoreRows<Emulated, 1>(q.row(i), kDim, key.row(0), kDim, kCount, kDim, one.view().row(i));
    EXPECT_TRUE(SameBytes(one.row(i), many.row(i), kCount));
    for (int64_t p = 0; p < kCount; ++p) {
      double exact = 0;
      for (int64_t d = 0; d < kDim; ++d) exact += double{q.at(i, d)} * key.at(p, d);
      ASSERT_NEAR(one.at(i, p), exact, 1e-4);
    }
    AccumulateRows<Emulated, 1>(many.row(i), key.row(0), kDim, kCount, kDim, sums_one.view().row(i),
                                kDim);
    EXPECT_TRUE(SameBytes(sums_one.row(i), sums_many.row(i), kDim));
  }
}

// The wrappers: the real table against the emulated instructions, bit for bit.
TEST(Avx512Wrappers, TableMatchesTheEmulation) {
  const KernelTable* table = KernelsFor(Backend::kCpuAvx512Bf16);
  if (table == nullptr) GTEST_SKIP() << "this processor has no AVX-512 BF16";
  TestStream stream(2);
  for (const int64_t rows : {1, 3, 14, 40}) {
    Problem problem(rows, 75, 201, DType::kBF16);
    const Matrix expected = Multiply<PairProduct<Emulated>>(problem, stream, 0, rows);
    Matrix y(rows, 75, 3);
    const GemmItem item{.x = problem.x.view(),
                        .weight = &problem.weight.view(),
                        .bias = problem.bias.data(),
                        .y = y.view()};
    table->gemm(stream, Compute::kBF16, &item, 1);
    for (int64_t t = 0; t < rows; ++t) EXPECT_TRUE(SameBytes(y.row(t), expected.row(t), 75));
  }
}

}  // namespace
}  // namespace tessera::kernels::emulated_avx512
