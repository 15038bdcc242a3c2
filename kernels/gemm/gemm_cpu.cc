#include "kernels/gemm/gemm_driver.h"
#include "kernels/gemm/gemm_policies.h"
#include "kernels/ops.h"
#include TESSERA_SIMD_HEADER

namespace tessera::kernels::TESSERA_ISA {
namespace {

// vdpbf16ps where the policy has it.
template <typename S, typename = void>
struct Bf16Product {
  using Type = WidenedProduct<S, true>;
};
template <typename S>
struct Bf16Product<S, decltype(static_cast<void>(sizeof(typename S::Pairs)))> {
  using Type = PairProduct<S>;
};

template <typename P>
void RunSelected(Stream& stream, const GemmItem* items, int64_t num_items, DType dtype) {
  // Items of one call nearly always have one weight dtype; runs of equal ones go together.
  int64_t begin = 0;
  while (begin < num_items) {
    int64_t end = begin;
    while (end < num_items && items[end].weight->dtype == items[begin].weight->dtype) ++end;
    if (items[begin].weight->dtype == dtype) RunGemm<P>(stream, items + begin, end - begin);
    begin = end;
  }
}

}  // namespace

void Gemm(Stream& stream, Compute compute, const GemmItem* items, int64_t num_items) {
  for (int64_t i = 0; i < num_items; ++i) CheckGemmItem(compute, items[i]);
  if (compute == Compute::kBF16) {
    RunGemm<Bf16Product<Simd>::Type>(stream, items, num_items);
    return;
  }
  RunSelected<F32Product<Simd>>(stream, items, num_items, DType::kF32);
  RunSelected<WidenedProduct<Simd, false>>(stream, items, num_items, DType::kBF16);
}

}  // namespace tessera::kernels::TESSERA_ISA
