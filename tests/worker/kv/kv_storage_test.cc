#include <cstring>

#include "gtest/gtest.h"
#include "worker/kv/kv.h"

namespace tessera::kv {
namespace {

TEST(KvStorage, GivesEachLayerItsOwnZeroedPages) {
  const model::KvLayout layout{kernels::DType::kBF16, 3, 10};
  KvStorage storage(layout, 4, 5);
  ASSERT_EQ(storage.layers().size(), 3u);
  for (const kernels::PagedKv& layer : storage.layers()) {
    EXPECT_EQ(layer.num_blocks, 5);
    EXPECT_EQ(layer.block_size_tokens, 4);
    EXPECT_EQ(layer.block_bytes, 4 * 10 * 2);
    EXPECT_EQ(layer.dtype, kernels::DType::kBF16);
    const auto* bytes = static_cast<const uint8_t*>(layer.data);
    for (int64_t i = 0; i < 5 * layer.block_bytes; ++i) ASSERT_EQ(bytes[i], 0);
    std::memset(layer.data, 0xff, 5 * layer.block_bytes);
  }
}

TEST(KvStorage, CostsNoMemoryBeforeItIsTouched) {
  // 1 TiB of address space: would fail at once if it were reserved or written.
  const model::KvLayout layout{kernels::DType::kF32, 2, 1024};
  KvStorage storage(layout, 16, int64_t{1} << 23);
  const kernels::PagedKv& last = storage.layers().back();
  auto* end = static_cast<uint8_t*>(last.data) + last.num_blocks * last.block_bytes - 1;
  EXPECT_EQ(*end, 0);
  *end = 1;
}

}  // namespace
}  // namespace tessera::kv
