#include <cmath>
#include <functional>
#include <limits>

#include "tests/kernels/kernel_test_support.h"

namespace tessera::kernels {
namespace {

using RowOps = TableTest;

constexpr int64_t kColumns[] = {1, 5, 16, 31, 64, 129, 1280};

TEST_P(RowOps, RmsNormMatchesDouble) {
  TestStream stream(2);
  for (const int64_t cols : kColumns) {
    const Matrix x = Matrix::Random(7, cols, 1, 3.0f, 2);
    const std::vector<float> gamma = RandomFloats(cols, 2);
    Matrix y(7, cols, 1);
    table().rms_norm(stream, x.view(), gamma.data(), 1e-6f, y.view());
    for (int64_t t = 0; t < 7; ++t) {
      double squares = 0;
      for (int64_t c = 0; c < cols; ++c) squares += double{x.at(t, c)} * x.at(t, c);
      const double scale = 1.0 / std::sqrt(squares / static_cast<double>(cols) + 1e-6);
      for (int64_t c = 0; c < cols; ++c) {
        const double expected = x.at(t, c) * scale * gamma[static_cast<size_t>(c)];
        ASSERT_NEAR(y.at(t, c), expected, 1e-6 + 1e-6 * std::abs(expected));
      }
    }
    EXPECT_TRUE(y.GapsUntouched());
    Matrix in_place = x;
    table().rms_norm(stream, in_place.view(), gamma.data(), 1e-6f, in_place.view());
    EXPECT_TRUE(SameBytes(in_place.row(3), y.row(3), cols));
  }
}

TEST_P(RowOps, LayerNormMatchesDouble) {
  TestStream stream(2);
  for (const int64_t cols : kColumns) {
    Matrix x = Matrix::Random(5, cols, 3, 2.0f, 2);
    for (int64_t t = 0; t < 5; ++t) {
      for (int64_t c = 0; c < cols; ++c) x.at(t, c) += 5.0f;  // a mean that must not cancel badly
    }
    const std::vector<float> gamma = RandomFloats(cols, 4);
    const std::vector<float> beta = RandomFloats(cols, 5);
    Matrix y(5, cols, 3);
    table().layer_norm(stream, x.view(), gamma.data(), beta.data(), 1e-6f, y.view());
    for (int64_t t = 0; t < 5; ++t) {
      double mean = 0, squares = 0;
      for (int64_t c = 0; c < cols; ++c) mean += x.at(t, c);
      mean /= static_cast<double>(cols);
      for (int64_t c = 0; c < cols; ++c) squares += (x.at(t, c) - mean) * (x.at(t, c) - mean);
      const double scale = 1.0 / std::sqrt(squares / static_cast<double>(cols) + 1e-6);
      for (int64_t c = 0; c < cols; ++c) {
        const double expected = (x.at(t, c) - mean) * scale * gamma[static_cast<size_t>(c)] +
                                beta[static_cast<size_t>(c)];
        ASSERT_NEAR(y.at(t, c), expected, 1e-5);
      }
    }
    Matrix in_place = x;
    table().layer_norm(stream, in_place.view(), gamma.data(), beta.data(), 1e-6f, in_place.view());
    EXPECT_TRUE(SameBytes(in_place.row(4), y.row(4), cols));
  }
}

// Values over the whole useful range, then the extremes.
Matrix Sweep(int64_t count) {
  Matrix x(1, count);
  for (int64_t i = 0; i < count; ++i) {
    x.at(0, i) = (static_cast<float>(i) / static_cast<float>(count) - 0.5f) * 40.0f;
  }
  const float extremes[] = {0.0f, -0.0f, 1e-30f, -1e-30f, 90.0f, -90.0f, 1e4f, -1e4f};
  for (size_t i = 0; i < std::size(extremes); ++i) x.at(0, static_cast<int64_t>(i)) = extremes[i];
  return x;
}

void ExpectElementwise(const Matrix& x, const Matrix& y, const std::function<double(double)>& exact,
                       double tolerance) {
  for (int64_t c = 0; c < x.cols(); ++c) {
    const double expected = exact(x.at(0, c));
    ASSERT_NEAR(y.at(0, c), expected, tolerance + tolerance * std::abs(expected)) << x.at(0, c);
  }
}

TEST_P(RowOps, ActivationsAreWithinOneMillionth) {
  TestStream stream(2);
  const Matrix x = Sweep(10007);
  Matrix y = x;
  table().gelu_tanh(stream, y.view());
  ExpectElementwise(
      x, y,
      [](double v) {
        const double u = std::sqrt(2.0 / M_PI) * (v + 0.044715 * v * v * v);
        return 0.5 * v * (1.0 + std::tanh(u));
      },
      1e-6);
  y = x;
  table().gelu_erf(stream, y.view());
  ExpectElementwise(
      x, y, [](double v) { return 0.5 * v * (1.0 + std::erf(v / std::sqrt(2.0))); }, 1e-6);
  Matrix gate_up(1, 2 * x.cols());
  for (int64_t c = 0; c < x.cols(); ++c) {
    gate_up.at(0, c) = x.at(0, c);
    gate_up.at(0, x.cols() + c) = 1.5f;
  }
  Matrix z(1, x.cols());
  table().silu_mul(stream, gate_up.view(), z.view());
  ExpectElementwise(
      x, z, [](double v) { return 1.5 * v / (1.0 + std::exp(-v)); }, 1e-6);
}

TEST_P(RowOps, NanStaysNan) {
  TestStream stream(1);
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  for (const int64_t cols : {3, 40}) {
    Matrix x = Matrix::Random(1, cols, 6);
    x.at(0, cols - 1) = kNan;
    Matrix y = x;
    table().gelu_tanh(stream, y.view());
    EXPECT_TRUE(std::isnan(y.at(0, cols - 1)));
    EXPECT_FALSE(std::isnan(y.at(0, 0)));
    y = x;
    table().gelu_erf(stream, y.view());
    EXPECT_TRUE(std::isnan(y.at(0, cols - 1)));
    y = x;
    table().round_to_bf16(stream, y.view());
    EXPECT_TRUE(std::isnan(y.at(0, cols - 1)));
    const std::vector<float> gamma(static_cast<size_t>(cols), 1.0f);
    table().rms_norm(stream, x.view(), gamma.data(), 1e-6f, y.view());
    EXPECT_TRUE(std::isnan(y.at(0, 0)));
  }
}

TEST_P(RowOps, ElementsDoNotDependOnTheirPlace) {
  TestStream stream(1);
  const Matrix x = Matrix::Random(1, 100, 7, 3.0f);
  Matrix whole = x;
  table().gelu_tanh(stream, whole.view());
  for (int64_t c = 0; c < 100; ++c) {
    Matrix single(1, 1);
    single.at(0, 0) = x.at(0, c);
    table().gelu_tanh(stream, single.view());
    EXPECT_TRUE(SameBytes(single.row(0), whole.row(0) + c, 1));
  }
}

TEST_P(RowOps, AddAndRoundingAreExact) {
  TestStream stream(2);
  for (const int64_t cols : kColumns) {
    const Matrix x = Matrix::Random(3, cols, 8, 1.0f, 1);
    Matrix y = Matrix::Random(3, cols, 9, 1.0f, 2);
    const Matrix before = y;
    table().add(stream, x.view(), y.view());
    Matrix rounded = x;
    table().round_to_bf16(stream, rounded.view());
    for (int64_t t = 0; t < 3; ++t) {
      for (int64_t c = 0; c < cols; ++c) {
        ASSERT_EQ(y.at(t, c), before.at(t, c) + x.at(t, c));
        ASSERT_EQ(rounded.at(t, c), Bf16Rounded(x.at(t, c)));
      }
    }
    EXPECT_TRUE(y.GapsUntouched());
  }
}

TEST_P(RowOps, GatherWidensExactly) {
  TestStream stream(2);
  constexpr int64_t kRows = 9, kCols = 37;
  const std::vector<float> f32 = RandomFloats(kRows * kCols, 10);
  std::vector<uint16_t> bf16, f16;
  for (const float value : f32) bf16.push_back(FloatToBf16(value));
  for (size_t i = 0; i < f32.size(); ++i) f16.push_back(static_cast<uint16_t>(0x3000 + i * 5));
  const std::vector<int32_t> ids = {8, 0, 0, 3};
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    const void* source = dtype == DType::kF32    ? static_cast<const void*>(f32.data())
                         : dtype == DType::kBF16 ? bf16.data()
                                                 : f16.data();
    Matrix y(4, kCols, 2);
    table().gather_rows(stream, source, dtype, ids.data(), 4, y.view());
    for (int64_t t = 0; t < 4; ++t) {
      for (int64_t c = 0; c < kCols; ++c) {
        const auto i = static_cast<size_t>(ids[static_cast<size_t>(t)] * kCols + c);
        const float expected = dtype == DType::kF32    ? f32[i]
                               : dtype == DType::kBF16 ? Bf16ToFloat(bf16[i])
                                                       : HalfToFloat(f16[i]);
        ASSERT_EQ(y.at(t, c), expected);
      }
    }
    EXPECT_TRUE(y.GapsUntouched());
  }
}

TEST_P(RowOps, RopeRotatesHalvesAndPairs) {
  constexpr int64_t kHeads = 3, kStride = 50, kOffset = 8, kDim = 38, kMax = 20;
  const std::vector<float> cos = RandomFloats(kMax * kDim / 2, 11);
  const std::vector<float> sin = RandomFloats(kMax * kDim / 2, 12);
  const RopeTable rope{cos.data(), sin.data(), kMax, kDim};
  const std::vector<int32_t> positions = {0, 19, 7, 7};
  TestStream stream(2);
  for (const bool interleaved : {false, true}) {
    const Matrix before = Matrix::Random(4, kHeads * kStride, 13, 1.0f, 2);
    Matrix x = before;
    const auto op = interleaved ? table().rope_interleaved : table().rope_half;
    op(stream, rope, positions.data(), kHeads, kStride, kOffset, x.view());
    Matrix expected = before;
    for (int64_t t = 0; t < 4; ++t) {
      for (int64_t h = 0; h < kHeads; ++h) {
        for (int64_t i = 0; i < kDim / 2; ++i) {
          const int64_t base = h * kStride + kOffset;
          const int64_t a = base + (interleaved ? 2 * i : i);
          const int64_t b = base + (interleaved ? 2 * i + 1 : i + kDim / 2);
          const size_t angle =
              static_cast<size_t>(positions[static_cast<size_t>(t)] * kDim / 2 + i);
          expected.at(t, a) = before.at(t, a) * cos[angle] - before.at(t, b) * sin[angle];
          expected.at(t, b) = before.at(t, b) * cos[angle] + before.at(t, a) * sin[angle];
        }
      }
      for (int64_t c = 0; c < kHeads * kStride; ++c) {
        ASSERT_NEAR(x.at(t, c), expected.at(t, c), 1e-6) << interleaved << " " << t << " " << c;
      }
    }
    EXPECT_TRUE(x.GapsUntouched());
  }
}

TEST_P(RowOps, MoeCombineSumsInOrder) {
  TestStream stream(2);
  for (const int64_t cols : {5, 64, 1280}) {
    const Matrix x = Matrix::Random(12, cols, 14);
    const std::vector<int32_t> slots = {0, 5, 11, 3, 3, 7};
    const std::vector<float> weights = RandomFloats(6, 15);
    Matrix y(2, cols, 1);
    table().moe_combine(stream, x.view(), slots.data(), weights.data(), 3, y.view());
    for (int64_t t = 0; t < 2; ++t) {
      for (int64_t c = 0; c < cols; ++c) {
        double sum = 0;
        for (int64_t j = 0; j < 3; ++j) {
          const auto i = static_cast<size_t>(t * 3 + j);
          sum += double{weights[i]} * x.at(slots[i], c);
        }
        ASSERT_NEAR(y.at(t, c), sum, 2e-6);
      }
    }
    EXPECT_TRUE(y.GapsUntouched());
  }
}

TEST_P(RowOps, RowsDependOnNeitherNeighboursNorThreads) {
  constexpr int64_t kRows = 300, kCols = 203;
  const Matrix x = Matrix::Random(kRows, kCols, 16);
  const std::vector<float> gamma = RandomFloats(kCols, 17);
  TestStream four(4), one(1);
  Matrix norm(kRows, kCols), layer(kRows, kCols), gelu = x;
  table().rms_norm(four, x.view(), gamma.data(), 1e-6f, norm.view());
  table().layer_norm(four, x.view(), gamma.data(), gamma.data(), 1e-6f, layer.view());
  table().gelu_erf(four, gelu.view());
  for (int64_t t = 0; t < kRows; t += 13) {
    const ConstMat row{x.row(t), 1, kCols, kCols};
    Matrix y(1, kCols);
    table().rms_norm(one, row, gamma.data(), 1e-6f, y.view());
    EXPECT_TRUE(SameBytes(y.row(0), norm.row(t), kCols));
    table().layer_norm(one, row, gamma.data(), gamma.data(), 1e-6f, y.view());
    EXPECT_TRUE(SameBytes(y.row(0), layer.row(t), kCols));
    for (int64_t c = 0; c < kCols; ++c) y.at(0, c) = x.at(t, c);
    table().gelu_erf(one, y.view());
    EXPECT_TRUE(SameBytes(y.row(0), gelu.row(t), kCols));
  }
}

TEST_P(RowOps, NoRowsAreNoWork) {
  TestStream stream(2);
  const std::vector<float> gamma(8, 1.0f);
  const Mat none{nullptr, 0, 8, 8};
  table().rms_norm(stream, none, gamma.data(), 1e-6f, none);
  table().add(stream, none, none);
  table().gelu_tanh(stream, none);
  table().round_to_bf16(stream, none);
  table().moe_combine(stream, none, nullptr, nullptr, 2, none);
  table().gather_rows(stream, nullptr, DType::kBF16, nullptr, 0, none);
}

TESSERA_ALL_TABLES(RowOps);

}  // namespace
}  // namespace tessera::kernels
