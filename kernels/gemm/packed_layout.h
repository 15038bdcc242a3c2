// The packed form of a weight W [n, k], the same bytes for every instruction set.
//
// Panels of 16 output rows follow each other. Within a panel:
//   kBF16: [ceil(k / 2)][16][2]   the two elements k = 2p, 2p + 1 of each of 16 outputs side by
//   side kF32:  [k][16]
// Outputs past n and the odd element past k are zero. So the innermost loop reads memory straight
// on, and one panel's bytes are n-independent: threads share a weight by panels.
#ifndef TESSERA_KERNELS_GEMM_PACKED_LAYOUT_H_
#define TESSERA_KERNELS_GEMM_PACKED_LAYOUT_H_

#include <cstdint>

#include "kernels/tensor_view.h"

namespace tessera::kernels {

inline constexpr int64_t kPanelCols = 16;

constexpr int64_t NumPanels(int64_t n) { return (n + kPanelCols - 1) / kPanelCols; }

// Bytes of one panel.
constexpr int64_t PanelBytes(DType dtype, int64_t k) {
  return dtype == DType::kBF16 ? (k + 1) / 2 * kPanelCols * 4 : k * kPanelCols * 4;
}

}  // namespace tessera::kernels

#endif  // TESSERA_KERNELS_GEMM_PACKED_LAYOUT_H_
