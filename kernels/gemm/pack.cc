#include "kernels/bf16.h"
#include "kernels/check.h"
#include "kernels/gemm/packed_layout.h"
#include "kernels/ops.h"

namespace tessera::kernels::shared {
namespace {

float ReadFloat(const void* source, DType dtype, int64_t index) {
  switch (dtype) {
    case DType::kF32:
      return static_cast<const float*>(source)[index];
    case DType::kBF16:
      return Bf16ToFloat(static_cast<const uint16_t*>(source)[index]);
    case DType::kF16:
      return HalfToFloat(static_cast<const uint16_t*>(source)[index]);
  }
  return 0;
}

uint32_t ReadBf16Pair(const void* source, DType dtype, int64_t index, bool has_second) {
  if (dtype == DType::kBF16) {
    const uint16_t* elements = static_cast<const uint16_t*>(source) + index;
    return elements[0] | (has_second ? static_cast<uint32_t>(elements[1]) << 16 : 0u);
  }
  const uint32_t first = FloatToBf16(ReadFloat(source, dtype, index));
  const uint32_t second = has_second ? FloatToBf16(ReadFloat(source, dtype, index + 1)) : 0u;
  return first | second << 16;
}

// Packs `count` source rows, the first at element `source_row`, to columns [col, col + count) of a
// panel; blocks of k keep the 16 source lines and the written part of the panel in the L1 cache.
void PackColumnsBf16(const void* source, DType dtype, int64_t source_row, int64_t stride,
                     int64_t col, int64_t count, int64_t k, uint32_t* panel) {
  constexpr int64_t kBlock = 128;
  const int64_t pairs = (k + 1) / 2;
  for (int64_t begin = 0; begin < pairs; begin += kBlock) {
    const int64_t end = begin + kBlock < pairs ? begin + kBlock : pairs;
    for (int64_t r = 0; r < count; ++r) {
      const int64_t row = source_row + r * stride;
      for (int64_t p = begin; p < end; ++p) {
        panel[p * kPanelCols + col + r] = ReadBf16Pair(source, dtype, row + 2 * p, 2 * p + 1 < k);
      }
    }
  }
}

void PackColumnsF32(const void* source, DType dtype, int64_t source_row, int64_t stride,
                    int64_t col, int64_t count, int64_t k, float* panel) {
  constexpr int64_t kBlock = 128;
  for (int64_t begin = 0; begin < k; begin += kBlock) {
    const int64_t end = begin + kBlock < k ? begin + kBlock : k;
    for (int64_t r = 0; r < count; ++r) {
      const int64_t row = source_row + r * stride;
      for (int64_t i = begin; i < end; ++i) {
        panel[i * kPanelCols + col + r] = ReadFloat(source, dtype, row + i);
      }
    }
  }
}

// Both packed forms hold 32-bit units, 16 side by side.
void ZeroColumns(int64_t begin, int64_t units, uint32_t* panel) {
  for (int64_t p = 0; p < units; ++p) {
    for (int64_t col = begin; col < kPanelCols; ++col) panel[p * kPanelCols + col] = 0;
  }
}

}  // namespace

int64_t PackedWeightBytes(DType dtype, int64_t n, int64_t k) {
  KERNEL_CHECK(dtype == DType::kF32 || dtype == DType::kBF16);
  KERNEL_CHECK(n >= 0 && k >= 0);
  return NumPanels(n) * PanelBytes(dtype, k);
}

void PackWeight(const void* source, DType source_dtype, int64_t source_stride, int64_t n_begin,
                int64_t rows, const PackedWeight& packed, void* packed_data) {
  KERNEL_CHECK(packed.dtype == DType::kF32 || packed.dtype == DType::kBF16);
  KERNEL_CHECK(n_begin >= 0 && rows >= 0 && n_begin + rows <= packed.n);
  KERNEL_CHECK(source_stride >= packed.k || rows <= 1);
  const int64_t panel_bytes = PanelBytes(packed.dtype, packed.k);
  char* data = static_cast<char*>(packed_data);
  for (int64_t done = 0; done < rows;) {
    const int64_t n = n_begin + done;
    const int64_t col = n % kPanelCols;
    const int64_t room = kPanelCols - col;
    const int64_t count = rows - done < room ? rows - done : room;
    char* panel = data + n / kPanelCols * panel_bytes;
    if (packed.dtype == DType::kBF16) {
      PackColumnsBf16(source, source_dtype, done * source_stride, source_stride, col, count,
                      packed.k, reinterpret_cast<uint32_t*>(panel));
    } else {
      PackColumnsF32(source, source_dtype, done * source_stride, source_stride, col, count,
                     packed.k, reinterpret_cast<float*>(panel));
    }
    done += count;
    if (n + count == packed.n && col + count < kPanelCols) {
      ZeroColumns(col + count, panel_bytes / (4 * kPanelCols), reinterpret_cast<uint32_t*>(panel));
    }
  }
}

}  // namespace tessera::kernels::shared
