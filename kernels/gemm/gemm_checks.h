// The contract of one matrix product, checked once per item.
#ifndef TESSERA_KERNELS_GEMM_GEMM_CHECKS_H_
#define TESSERA_KERNELS_GEMM_GEMM_CHECKS_H_

#include "kernels/check.h"
#include "kernels/op_types.h"

namespace tessera::kernels {
namespace {  // NOLINT(google-build-namespaces): included by files of different instruction sets

inline void CheckGemmItem(Compute compute, const GemmItem& item) {
  KERNEL_CHECK(item.weight != nullptr);
  const PackedWeight& weight = *item.weight;
  KERNEL_CHECK(weight.dtype == DType::kBF16 ||
               (weight.dtype == DType::kF32 && compute == Compute::kF32));
  KERNEL_CHECK(item.y.rows >= 0);
  if (item.y.rows == 0) return;
  KERNEL_CHECK(weight.n >= 0 && weight.k >= 0);
  KERNEL_CHECK(item.x.cols == weight.k && item.y.cols == weight.n);
  KERNEL_CHECK(weight.data != nullptr && item.x.data != nullptr && item.y.data != nullptr);
  KERNEL_CHECK(item.x_rows != nullptr || item.x.rows == item.y.rows);
  KERNEL_CHECK(item.y.stride >= item.y.cols || item.y.rows == 1);
  if (item.x_rows == nullptr) return;
  for (int64_t i = 0; i < item.y.rows; ++i) {
    KERNEL_CHECK(item.x_rows[i] >= 0 && item.x_rows[i] < item.x.rows);
  }
}

}  // namespace
}  // namespace tessera::kernels

#endif  // TESSERA_KERNELS_GEMM_GEMM_CHECKS_H_
