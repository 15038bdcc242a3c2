#include <cmath>

#include "kernels/gemm/packed_layout.h"
#include "tests/kernels/kernel_test_support.h"

namespace tessera::kernels {
namespace {

struct Variant {
  Compute compute;
  DType dtype;
};
constexpr Variant kVariants[] = {
    {Compute::kF32, DType::kF32}, {Compute::kF32, DType::kBF16}, {Compute::kBF16, DType::kBF16}};

class Gemm : public TableTest {
 protected:
  void Run(TestStream& stream, Compute compute, const std::vector<GemmItem>& items) {
    table().gemm(stream, compute, items.data(), static_cast<int64_t>(items.size()));
  }
};

// y against sums in double precision. Each of k rounded additions errs by 2^-24 of a partial sum,
// which is at most Σ |x w|; products of the fused or widened forms round at most once more. The
// square root of k is what random signs leave; the bound takes k itself.
void ExpectProduct(const Matrix& x, const int32_t* rows, const TestWeight& weight,
                   const std::vector<float>* bias, Compute compute, const Matrix& y) {
  const Matrix& w = weight.values();
  for (int64_t t = 0; t < y.rows(); ++t) {
    const int64_t source = rows != nullptr ? rows[t] : t;
    for (int64_t n = 0; n < y.cols(); ++n) {
      double sum = 0;
      double magnitude = 0;
      for (int64_t k = 0; k < w.cols(); ++k) {
        const float xi = x.at(source, k);
        const double product =
            double{compute == Compute::kBF16 ? Bf16Rounded(xi) : xi} * w.at(n, k);
        sum += product;
        magnitude += std::abs(product);
      }
      if (bias != nullptr) sum += (*bias)[static_cast<size_t>(n)];
      const double tolerance =
          (static_cast<double>(w.cols()) + 2) * 6e-8 * (magnitude + std::abs(sum)) + 1e-30;
      ASSERT_NEAR(y.at(t, n), sum, tolerance)
          << "row " << t << " of " << y.rows() << ", n " << n << ", k " << w.cols();
    }
  }
}

TEST_P(Gemm, MatchesDoubleSumsForOddShapes) {
  TestStream stream(2);
  struct Shape {
    int64_t rows, n, k;
  };
  constexpr Shape kShapes[] = {{1, 1, 1},    {1, 16, 2},    {3, 17, 5},    {5, 33, 31},
                               {6, 16, 64},  {7, 130, 65},  {14, 47, 129}, {29, 64, 100},
                               {64, 5, 257}, {131, 96, 90}, {200, 18, 700}};
  for (const Variant variant : kVariants) {
    for (const Shape shape : kShapes) {
      const Matrix x = Matrix::Random(shape.rows, shape.k, 1, 1.0f, 3);
      const TestWeight weight(table(), variant.dtype, Matrix::Random(shape.n, shape.k, 2));
      const std::vector<float> bias = RandomFloats(shape.n, 3);
      Matrix y(shape.rows, shape.n, 5);
      Run(stream, variant.compute,
          {{.x = x.view(), .weight = &weight.view(), .bias = bias.data(), .y = y.view()}});
      ExpectProduct(x, nullptr, weight, &bias, variant.compute, y);
      EXPECT_TRUE(y.GapsUntouched());
    }
  }
}

TEST_P(Gemm, LongKIsSlicedWithoutATrace) {
  TestStream stream(2);
  for (const Variant variant : kVariants) {
    const Matrix x = Matrix::Random(50, 1531, 4);
    const TestWeight weight(table(), variant.dtype, Matrix::Random(50, 1531, 5));
    Matrix y(50, 50);
    Run(stream, variant.compute, {{.x = x.view(), .weight = &weight.view(), .y = y.view()}});
    ExpectProduct(x, nullptr, weight, nullptr, variant.compute, y);
  }
}

TEST_P(Gemm, GathersRowsOfSeveralItems) {
  TestStream stream(2);
  const Matrix x = Matrix::Random(20, 70, 6);
  std::vector<TestWeight> weights;
  std::vector<std::vector<int32_t>> rows;
  std::vector<Matrix> outs;
  for (int i = 0; i < 9; ++i) {
    weights.emplace_back(table(), DType::kBF16, Matrix::Random(10 + 7 * i, 70, 100 + i));
    std::vector<int32_t> ids;
    for (int j = 0; j < i * 3 % 7; ++j) ids.push_back((i * 5 + j * 3) % 20);
    rows.push_back(ids);
    outs.emplace_back(static_cast<int64_t>(ids.size()), 10 + 7 * i, 1);
  }
  std::vector<GemmItem> items;
  for (size_t i = 0; i < weights.size(); ++i) {
    items.push_back({.x = x.view(),
                     .x_rows = rows[i].data(),
                     .weight = &weights[i].view(),
                     .y = outs[i].view()});
  }
  Run(stream, Compute::kBF16, items);
  for (size_t i = 0; i < weights.size(); ++i) {
    ExpectProduct(x, rows[i].data(), weights[i], nullptr, Compute::kBF16, outs[i]);
    EXPECT_TRUE(outs[i].GapsUntouched());
  }
}

TEST_P(Gemm, MixesWeightTypesInOneF32Call) {
  TestStream stream(2);
  const Matrix x = Matrix::Random(4, 40, 7);
  const TestWeight wide(table(), DType::kF32, Matrix::Random(20, 40, 8));
  const TestWeight narrow(table(), DType::kBF16, Matrix::Random(24, 40, 9));
  Matrix y_wide(4, 20), y_narrow(4, 24), y_again(4, 20);
  Run(stream, Compute::kF32,
      {{.x = x.view(), .weight = &wide.view(), .y = y_wide.view()},
       {.x = x.view(), .weight = &narrow.view(), .y = y_narrow.view()},
       {.x = x.view(), .weight = &wide.view(), .y = y_again.view()}});
  ExpectProduct(x, nullptr, wide, nullptr, Compute::kF32, y_wide);
  ExpectProduct(x, nullptr, narrow, nullptr, Compute::kF32, y_narrow);
  EXPECT_TRUE(SameBytes(y_wide.row(0), y_again.row(0), 4 * 20));
}

TEST_P(Gemm, EmptyItemsAreNoWork) {
  TestStream stream(2);
  const TestWeight weight(table(), DType::kBF16, Matrix::Random(16, 8, 1));
  Run(stream, Compute::kBF16, {});
  Run(stream, Compute::kBF16,
      {{.x = {nullptr, 0, 8, 8}, .weight = &weight.view(), .y = {nullptr, 0, 16, 16}}});
}

// The promise that everything above the kernels builds on.
TEST_P(Gemm, ARowsBitsDependOnThatRowAlone) {
  constexpr int64_t kN = 83, kK = 427, kRows = 260;
  std::vector<std::unique_ptr<TestStream>> streams;
  for (int threads = 1; threads <= 4; ++threads) {
    streams.push_back(std::make_unique<TestStream>(threads));
  }
  for (const Variant variant : kVariants) {
    const Matrix x = Matrix::Random(kRows, kK, 11);
    const TestWeight weight(table(), variant.dtype, Matrix::Random(kN, kK, 12));
    const std::vector<float> bias = RandomFloats(kN, 13);
    // Each row alone, on one thread.
    Matrix alone(kRows, kN);
    for (int64_t t = 0; t < kRows; ++t) {
      Run(*streams[0], variant.compute,
          {{.x = {x.row(t), 1, kK, kK},
            .weight = &weight.view(),
            .bias = bias.data(),
            .y = alone.view().row_range(t, 1)}});
    }
    std::vector<int64_t> counts;
    for (int64_t rows = 1; rows <= 40; ++rows) counts.push_back(rows);
    for (const int64_t rows : {97, 128, 129, 260}) counts.push_back(rows);
    for (const int64_t rows : counts) {
      // Gathered from scattered places, a different thread count each time.
      std::vector<int32_t> ids;
      for (int64_t i = 0; i < rows; ++i) {
        ids.push_back(static_cast<int32_t>((i * 37 + rows) % kRows));
      }
      Matrix y(rows, kN, 2);
      TestStream& stream = *streams[static_cast<size_t>(rows % 4)];
      Run(stream, variant.compute,
          {{.x = x.view(),
            .x_rows = ids.data(),
            .weight = &weight.view(),
            .bias = bias.data(),
            .y = y.view()}});
      for (int64_t i = 0; i < rows; ++i) {
        ASSERT_TRUE(SameBytes(y.row(i), alone.row(ids[static_cast<size_t>(i)]), kN))
            << "row " << i << " of " << rows;
      }
    }
  }
}

TEST_P(Gemm, ThreadCountAndNeighbouringItemsChangeNoBit) {
  constexpr int64_t kN = 1040, kK = 300;
  const Matrix x = Matrix::Random(9, kK, 14);
  const TestWeight weight(table(), DType::kBF16, Matrix::Random(kN, kK, 15));
  Matrix first(9, kN);
  for (int threads = 1; threads <= 4; ++threads) {
    TestStream stream(threads);
    for (const int copies : {1, 3, 8}) {
      std::vector<Matrix> outs(static_cast<size_t>(copies), Matrix(9, kN));
      std::vector<GemmItem> items;
      for (Matrix& out : outs) {
        items.push_back({.x = x.view(), .weight = &weight.view(), .y = out.view()});
      }
      Run(stream, Compute::kBF16, items);
      if (threads == 1 && copies == 1) first = outs[0];
      for (const Matrix& out : outs) EXPECT_TRUE(SameBytes(out.row(0), first.row(0), 9 * kN));
    }
  }
}

TEST_P(Gemm, AnUnevenRowPoisonsNoOther) {
  TestStream stream(2);
  constexpr int64_t kN = 40, kK = 66;
  Matrix x = Matrix::Random(13, kK, 16);
  const TestWeight weight(table(), DType::kBF16, Matrix::Random(kN, kK, 17));
  Matrix clean(13, kN), dirty(13, kN);
  Run(stream, Compute::kBF16, {{.x = x.view(), .weight = &weight.view(), .y = clean.view()}});
  for (int64_t k = 0; k < kK; ++k) x.at(5, k) = std::numeric_limits<float>::quiet_NaN();
  Run(stream, Compute::kBF16, {{.x = x.view(), .weight = &weight.view(), .y = dirty.view()}});
  for (int64_t t = 0; t < 13; ++t) {
    if (t == 5) {
      EXPECT_TRUE(std::isnan(dirty.at(t, 0)) && std::isnan(dirty.at(t, kN - 1)));
    } else {
      EXPECT_TRUE(SameBytes(dirty.row(t), clean.row(t), kN));
    }
  }
}

TESSERA_ALL_TABLES(Gemm);

TEST(PackWeight, LaysOutPairsAndZeroPadding) {
  const KernelTable& table = *KernelsFor(Backend::kReference);
  constexpr int64_t kN = 18, kK = 3;
  Matrix w(kN, kK);
  for (int64_t n = 0; n < kN; ++n) {
    for (int64_t k = 0; k < kK; ++k) w.at(n, k) = static_cast<float>(n * 4 + k);
  }
  const TestWeight weight(table, DType::kBF16, w);
  ASSERT_EQ(table.packed_weight_bytes(DType::kBF16, kN, kK), 2 * 2 * 16 * 4);
  const auto* data = static_cast<const uint16_t*>(weight.view().data);
  for (int64_t n = 0; n < 32; ++n) {
    for (int64_t k = 0; k < 4; ++k) {
      const float expected = n < kN && k < kK ? w.at(n, k) : 0.0f;
      const int64_t index = (n / 16 * 2 + k / 2) * 32 + n % 16 * 2 + k % 2;
      EXPECT_EQ(Bf16ToFloat(data[index]), expected) << n << "," << k;
    }
  }
}

TEST(PackWeight, PiecesOfAnyCutGiveTheSameBytes) {
  const KernelTable& table = *BestCpuKernels();
  for (const DType dtype : {DType::kBF16, DType::kF32}) {
    const Matrix w = Matrix::Random(53, 37, 20);
    const int64_t bytes = table.packed_weight_bytes(dtype, 53, 37);
    std::vector<char> whole(static_cast<size_t>(bytes), 1), cut(static_cast<size_t>(bytes), 2);
    const PackedWeight view{nullptr, dtype, 53, 37};
    table.pack_weight(w.row(0), DType::kF32, 37, 0, 53, view, whole.data());
    int64_t begin = 0;
    for (const int64_t rows : {5, 20, 7, 1, 20}) {
      table.pack_weight(w.row(begin), DType::kF32, 37, begin, rows, view, cut.data());
      begin += rows;
    }
    EXPECT_EQ(whole, cut);
  }
}

TEST(PackWeight, ReadsEverySourceType) {
  const KernelTable& table = *KernelsFor(Backend::kReference);
  // 1.0, -2.5, 2^-24 (the least half), 65504 as halves.
  const uint16_t half[4] = {0x3c00, 0xc100, 0x0001, 0x7bff};
  const float expected[4] = {1.0f, -2.5f, std::ldexp(1.0f, -24), 65504.0f};
  std::vector<float> f32(16 * 4);
  const PackedWeight view{nullptr, DType::kF32, 1, 4};
  table.pack_weight(half, DType::kF16, 4, 0, 1, view, f32.data());
  for (int k = 0; k < 4; ++k) EXPECT_EQ(f32[static_cast<size_t>(k * 16)], expected[k]);
  const uint16_t bf16[4] = {0x3f80, 0xc020, 0x0001, 0x7f80};
  table.pack_weight(bf16, DType::kBF16, 4, 0, 1, view, f32.data());
  for (int k = 0; k < 4; ++k) EXPECT_EQ(f32[static_cast<size_t>(k * 16)], Bf16ToFloat(bf16[k]));
}

TEST(Bf16, RoundsToNearestEvenAndKeepsNan) {
  EXPECT_EQ(FloatToBf16(FloatOf(0x3f808000u)), 0x3f80);  // a tie, down to even
  EXPECT_EQ(FloatToBf16(FloatOf(0x3f818000u)), 0x3f82);  // a tie, up to even
  EXPECT_EQ(FloatToBf16(FloatOf(0x3f808001u)), 0x3f81);
  EXPECT_EQ(FloatToBf16(FloatOf(0x7f7fffffu)), 0x7f80);  // the largest float becomes infinite
  EXPECT_EQ(FloatToBf16(FloatOf(0x00000001u)), 0x0000);
  EXPECT_TRUE(std::isnan(Bf16ToFloat(FloatToBf16(FloatOf(0x7f800001u)))));
  EXPECT_EQ(FloatToBf16(-0.0f), 0x8000);
}

}  // namespace
}  // namespace tessera::kernels
