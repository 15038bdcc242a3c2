// Rows in a buffer against rows at the places that tensor_view.h gives them.
#include "worker/kv/kv_rows.h"

#include <cstddef>
#include <cstring>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "worker/kv/kv.h"

namespace tessera::kv {
namespace {

constexpr int64_t kBlockSize = 4;
constexpr int64_t kNumBlocks = 7;
constexpr int32_t kBlocks[] = {5, 0, 3};
constexpr int64_t kTokens = 3 * kBlockSize;

std::vector<std::byte> RandomBytes(size_t count) {
  std::mt19937 random(3);
  std::vector<std::byte> bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

model::LanguageConfig Mha() {
  model::LanguageConfig config;
  config.use_mla = false;
  config.num_key_value_heads = 3;
  return config;
}

model::LanguageConfig Mla() {
  model::LanguageConfig config;
  config.use_mla = true;
  config.num_key_value_heads = 3;  // means nothing here
  return config;
}

// Of position p: where element `element` of its row lies in the pages, in bytes.
int64_t Place(bool mla, const model::KvLayout& layout, int64_t p, int64_t element) {
  const int64_t head_dim = layout.row_elements / 6;
  const int64_t in_block =
      mla ? p % kBlockSize * layout.row_elements + element
          : (element / head_dim * kBlockSize + p % kBlockSize) * head_dim + element % head_dim;
  return kBlocks[p / kBlockSize] * layout.BlockBytes(kBlockSize) +
         in_block * kernels::SizeOf(layout.dtype);
}

class KvRows : public testing::TestWithParam<std::tuple<bool, kernels::DType>> {
 protected:
  const bool mla_ = std::get<0>(GetParam());
  const model::KvLayout layout_{std::get<1>(GetParam()), 2, mla_ ? 10 : 30};
  const RowShape shape_ = RowShapeOf(mla_ ? Mla() : Mha(), layout_);
  const int64_t element_bytes_ = kernels::SizeOf(layout_.dtype);
  KvStorage storage_{layout_, kBlockSize, kNumBlocks};
};

TEST_P(KvRows, WrittenRowsLieWhereKernelsReadThem) {
  EXPECT_EQ(RowBytes(shape_), layout_.row_elements * element_bytes_);
  constexpr int64_t kFirst = 2;
  constexpr int64_t kRows = 7;  // the end of a block, a whole one, the begin of another
  const std::vector<std::byte> rows = RandomBytes(static_cast<size_t>(kRows * RowBytes(shape_)));
  const kernels::PagedKv& pages = storage_.layers()[1];
  WriteRows(pages, shape_, kBlocks, kFirst, kRows, rows);

  std::vector<std::byte> expected(static_cast<size_t>(kNumBlocks * pages.block_bytes));
  for (int64_t row = 0; row < kRows; ++row) {
    for (int64_t element = 0; element < layout_.row_elements; ++element) {
      std::memcpy(expected.data() + Place(mla_, layout_, kFirst + row, element),
                  rows.data() + row * RowBytes(shape_) + element * element_bytes_,
                  static_cast<size_t>(element_bytes_));
    }
  }
  EXPECT_EQ(std::memcmp(pages.data, expected.data(), expected.size()), 0);
}

TEST_P(KvRows, ReadRowsGivesBackWhatWasWritten) {
  const std::vector<std::byte> rows = RandomBytes(static_cast<size_t>(kTokens * RowBytes(shape_)));
  const kernels::PagedKv& pages = storage_.layers()[0];
  WriteRows(pages, shape_, kBlocks, 0, kTokens, rows);
  for (int64_t first = 0; first < kTokens; ++first) {
    for (int64_t count = 0; first + count <= kTokens; ++count) {
      std::vector<std::byte> found(static_cast<size_t>(count * RowBytes(shape_)));
      ReadRows(pages, shape_, kBlocks, first, count, absl::MakeSpan(found));
      ASSERT_EQ(found, std::vector<std::byte>(rows.begin() + first * RowBytes(shape_),
                                              rows.begin() + (first + count) * RowBytes(shape_)));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, KvRows,
                         testing::Combine(testing::Bool(), testing::Values(kernels::DType::kF32,
                                                                           kernels::DType::kBF16)));

TEST(KvRowsDeathTest, RefusesRowsOutsideTheBlocks) {
  const model::KvLayout layout{kernels::DType::kF32, 1, 10};
  KvStorage storage(layout, kBlockSize, kNumBlocks);
  const RowShape shape = RowShapeOf(Mla(), layout);
  std::vector<std::byte> rows(static_cast<size_t>(2 * RowBytes(shape)));
  EXPECT_DEATH(ReadRows(storage.layers()[0], shape, kBlocks, kTokens - 1, 2, absl::MakeSpan(rows)),
               "rows outside the blocks");
  constexpr int32_t kBad[] = {kNumBlocks};
  EXPECT_DEATH(WriteRows(storage.layers()[0], shape, kBad, 0, 2, rows), "block 7");
}

}  // namespace
}  // namespace tessera::kv
