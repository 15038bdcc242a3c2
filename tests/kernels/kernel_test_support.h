// What the kernel tests share: random data, packed weights, streams, and the tables to run.
#ifndef TESSERA_TESTS_KERNELS_KERNEL_TEST_SUPPORT_H_
#define TESSERA_TESTS_KERNELS_KERNEL_TEST_SUPPORT_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/bf16.h"
#include "kernels/kernels.h"
#include "kernels/thread_pool.h"

namespace tessera::kernels {

inline std::vector<float> RandomFloats(int64_t count, uint32_t seed, float scale = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

// A matrix that owns its memory; `gap` unused elements after each row, which must stay untouched.
class Matrix {
 public:
  Matrix(int64_t rows, int64_t cols, int64_t gap = 0)
      : rows_(rows),
        cols_(cols),
        stride_(cols + gap),
        data_(static_cast<size_t>(rows * (cols + gap) + 1), kGapValue) {}
  static Matrix Random(int64_t rows, int64_t cols, uint32_t seed, float scale = 1.0f,
                       int64_t gap = 0) {
    Matrix matrix(rows, cols, gap);
    const std::vector<float> values = RandomFloats(rows * cols, seed, scale);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        matrix.at(r, c) = values[static_cast<size_t>(r * cols + c)];
      }
    }
    return matrix;
  }

  float& at(int64_t r, int64_t c) { return data_[static_cast<size_t>(r * stride_ + c)]; }
  float at(int64_t r, int64_t c) const { return data_[static_cast<size_t>(r * stride_ + c)]; }
  const float* row(int64_t r) const { return data_.data() + r * stride_; }
  Mat view() { return {data_.data(), rows_, cols_, stride_}; }
  ConstMat view() const { return {data_.data(), rows_, cols_, stride_}; }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }

  bool GapsUntouched() const {
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t c = cols_; c < stride_; ++c) {
        if (at(r, c) != kGapValue) return false;
      }
    }
    return data_.back() == kGapValue;
  }

 private:
  static constexpr float kGapValue = 12345.0f;
  int64_t rows_;
  int64_t cols_;
  int64_t stride_;
  std::vector<float> data_;
};

inline bool SameBytes(const float* a, const float* b, int64_t count) {
  return std::memcmp(a, b, static_cast<size_t>(count) * sizeof(float)) == 0;
}

// A weight and its packed form.
class TestWeight {
 public:
  TestWeight(const KernelTable& table, DType dtype, Matrix values) : values_(std::move(values)) {
    const int64_t n = values_.rows();
    const int64_t k = values_.cols();
    packed_.resize(static_cast<size_t>(table.packed_weight_bytes(dtype, n, k)) + 64, '\x7f');
    view_ = {packed_.data(), dtype, n, k};
    table.pack_weight(values_.row(0), DType::kF32, k, 0, n, view_, packed_.data());
    if (dtype == DType::kBF16) {
      for (int64_t r = 0; r < n; ++r) {
        for (int64_t c = 0; c < k; ++c) values_.at(r, c) = Bf16Rounded(values_.at(r, c));
      }
    }
  }
  const PackedWeight& view() const { return view_; }
  const Matrix& values() const { return values_; }  // as the product sees them

 private:
  Matrix values_;
  std::vector<char> packed_;
  PackedWeight view_;
};

// A stream with its own pool.
struct TestStream {
  explicit TestStream(int threads = 2) : pool(threads), stream(MakeCpuStream(pool)) {}
  operator Stream&() { return *stream; }  // NOLINT(google-explicit-constructor): reads as a stream
  ThreadPool pool;
  std::unique_ptr<Stream> stream;
};

inline std::string TableName(const ::testing::TestParamInfo<const KernelTable*>& info) {
  return info.param->name;
}

inline std::vector<const KernelTable*> RunnableTables() {
  std::vector<const KernelTable*> tables;
  for (const std::string& name : RunnableKernelNames()) tables.push_back(KernelsByName(name));
  return tables;
}

// Each test body runs once per table of this machine.
class TableTest : public ::testing::TestWithParam<const KernelTable*> {
 protected:
  const KernelTable& table() const { return *GetParam(); }
};

#define TESSERA_ALL_TABLES(suite) \
  INSTANTIATE_TEST_SUITE_P(Tables, suite, ::testing::ValuesIn(RunnableTables()), TableName)

}  // namespace tessera::kernels

#endif  // TESSERA_TESTS_KERNELS_KERNEL_TEST_SUPPORT_H_
