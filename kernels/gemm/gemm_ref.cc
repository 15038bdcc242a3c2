// y = x · Wᵀ + bias, one output at a time in order of k. What the fast tables are tested against.
#include "kernels/bf16.h"
#include "kernels/check.h"
#include "kernels/cpu_stream.h"
#include "kernels/gemm/gemm_checks.h"
#include "kernels/gemm/packed_layout.h"
#include "kernels/ops.h"

namespace tessera::kernels::TESSERA_ISA {
namespace {

// The 16 outputs of a panel for one row x [k].
void RowTimesPanel(const float* x, bool round_x, const PackedWeight& weight, int64_t panel,
                   float* sums) {
  const char* data =
      static_cast<const char*>(weight.data) + panel * PanelBytes(weight.dtype, weight.k);
  for (int64_t c = 0; c < kPanelCols; ++c) sums[c] = 0;
  for (int64_t i = 0; i < weight.k; ++i) {
    const float xi = round_x ? Bf16Rounded(x[i]) : x[i];
    if (weight.dtype == DType::kF32) {
      const float* w = reinterpret_cast<const float*>(data) + i * kPanelCols;
      for (int64_t c = 0; c < kPanelCols; ++c) sums[c] += xi * w[c];
    } else {
      const uint16_t* w = reinterpret_cast<const uint16_t*>(data) + i / 2 * 2 * kPanelCols + i % 2;
      for (int64_t c = 0; c < kPanelCols; ++c) sums[c] += xi * Bf16ToFloat(w[2 * c]);
    }
  }
}

}  // namespace

void Gemm(Stream& stream, Compute compute, const GemmItem* items, int64_t num_items) {
  for (int64_t i = 0; i < num_items; ++i) {
    const GemmItem& item = items[i];
    CheckGemmItem(compute, item);
    const PackedWeight& weight = *item.weight;
    const auto panels = [&](int64_t begin, int64_t end, int) {
      for (int64_t panel = begin; panel < end; ++panel) {
        for (int64_t t = 0; t < item.y.rows; ++t) {
          float sums[kPanelCols];
          const int64_t source = item.x_rows != nullptr ? item.x_rows[t] : t;
          RowTimesPanel(item.x.row(source), compute == Compute::kBF16, weight, panel, sums);
          for (int64_t c = 0; c < kPanelCols && panel * kPanelCols + c < weight.n; ++c) {
            const int64_t n = panel * kPanelCols + c;
            item.y.row(t)[n] = sums[c] + (item.bias != nullptr ? item.bias[n] : 0.0f);
          }
        }
      }
    };
    ParallelRanges(stream, NumPanels(weight.n), item.y.rows * weight.k * kPanelCols, panels);
  }
}

}  // namespace tessera::kernels::TESSERA_ISA
