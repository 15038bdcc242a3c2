// How one step of a matrix product multiplies, for each form of weight and input. A step is one
// 64-byte line of a panel (gemm/packed_layout.h): 16 elements (kF32) or 16 pairs (kBF16).
// S is a SIMD policy (simd/): the machine's, or the tests' emulated one.
#ifndef TESSERA_KERNELS_GEMM_GEMM_POLICIES_H_
#define TESSERA_KERNELS_GEMM_GEMM_POLICIES_H_

#include <cstdint>

#include "kernels/bf16.h"

namespace tessera::kernels::TESSERA_ISA {
namespace {

// float32 weights, float32 inputs.
template <typename S>
struct F32Product {
  using Simd = S;
  using Weights = typename S::F;
  using Inputs = typename S::F;
  using Input = float;                        // packed input
  static constexpr int kElementsPerStep = 1;  // elements of k in a step
  static constexpr int kSubsteps = 1;         // multiplications in a step, each with its own input
  static constexpr bool kRoundInput = false;

  static Weights LoadWeights(const uint32_t* line, int) {
    return S::Load(reinterpret_cast<const float*>(line));
  }
  static Inputs Broadcast(Input input) { return S::Set1(input); }
  static typename S::F MulAdd(Inputs a, Weights b, typename S::F sum) { return S::Fma(a, b, sum); }
  static Input Combine(const float* elements) { return elements[0]; }
};

// bf16 weights widened, inputs in float32; kRounded: inputs are rounded to bf16 first.
template <typename S, bool kRounded>
struct WidenedProduct {
  using Simd = S;
  using Weights = typename S::F;
  using Inputs = typename S::F;
  using Input = float;
  static constexpr int kElementsPerStep = 2;
  static constexpr int kSubsteps = 2;
  static constexpr bool kRoundInput = kRounded;

  static Weights LoadWeights(const uint32_t* line, int substep) {
    return substep == 0 ? S::LoadPairsFirst(line) : S::LoadPairsSecond(line);
  }
  static Inputs Broadcast(Input input) { return S::Set1(input); }
  static typename S::F MulAdd(Inputs a, Weights b, typename S::F sum) { return S::Fma(a, b, sum); }
  static Input Combine(const float* elements) { return elements[0]; }
};

// bf16 weights and inputs as pairs, multiplied by one instruction.
template <typename S>
struct PairProduct {
  using Simd = S;
  using Weights = typename S::Pairs;
  using Inputs = typename S::Pairs;
  using Input = uint32_t;
  static constexpr int kElementsPerStep = 2;
  static constexpr int kSubsteps = 1;
  static constexpr bool kRoundInput = true;

  static Weights LoadWeights(const uint32_t* line, int) { return S::LoadPairs(line); }
  static Inputs Broadcast(Input input) { return S::Set1Pair(input); }
  static typename S::F MulAdd(Inputs a, Weights b, typename S::F sum) {
    return S::MulAddPairs(a, b, sum);
  }
  // Both elements are bf16 already.
  static Input Combine(const float* elements) {
    return BitsOf(elements[0]) >> 16 | (BitsOf(elements[1]) & 0xffff0000u);
  }
};

}  // namespace
}  // namespace tessera::kernels::TESSERA_ISA

#endif  // TESSERA_KERNELS_GEMM_GEMM_POLICIES_H_
