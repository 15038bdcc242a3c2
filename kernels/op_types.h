// Parameter types of the ops that kernels.h lists; kernels.h includes this file.
// Apart from it because files built for one instruction set may see no standard library code.
#ifndef TESSERA_KERNELS_OP_TYPES_H_
#define TESSERA_KERNELS_OP_TYPES_H_

#include <cstdint>

#include "kernels/tensor_view.h"

namespace tessera::kernels {

class Stream;  // kernels.h

enum class Compute : uint8_t {
  kF32,   // x is used as it is; weights kF32 or kBF16 (widened exactly)
  kBF16,  // x is rounded to bf16 first; weights kBF16; products and sums in fp32
};

// One matrix product of a call: y = x · Wᵀ (+ bias).   x: [rows, k]  W: [n, k]  bias: [n] or null
// y: [rows, n] x_rows, when not null, gathers: row i of the product reads row x_rows[i] of x, and
// y.rows of them are computed. y may not overlap x, nor the y of another item of the call.
struct GemmItem {
  ConstMat x;
  const int32_t* x_rows = nullptr;
  const PackedWeight* weight = nullptr;
  const float* bias = nullptr;
  Mat y;
};

enum class GateScoring : uint8_t { kSoftmax, kSigmoid };
enum class GateMethod : uint8_t { kGreedy, kGroupLimitedGreedy, kNoAuxTc };

// The MoE router of one layer; semantics of the official MoEGate.
struct GateParams {
  GateScoring scoring = GateScoring::kSoftmax;
  GateMethod method = GateMethod::kGreedy;
  int32_t num_experts = 0;  // at most 512
  int32_t top_k = 0;        // at most 32
  int32_t num_groups = 1;   // divides num_experts
  int32_t top_k_groups = 1;
  bool norm_top_k_prob = false;     // with top_k > 1: w / (sum + 1e-20)
  float routed_scaling_factor = 1;  // applied in both cases
  const float* score_correction_bias =
      nullptr;  // [num_experts], kNoAuxTc only: chooses, never weighs
};

// rope tables: cos and sin, [max_positions, rotary_dim / 2] each, float32, scaled as the config
// says (YaRN).
struct RopeTable {
  const float* cos = nullptr;
  const float* sin = nullptr;
  int64_t max_positions = 0;
  int64_t rotary_dim = 0;
};

struct MhaShape {
  int64_t num_heads = 0;
  int64_t num_kv_heads =
      0;  // divides num_heads; head h reads kv head h / (num_heads / num_kv_heads)
  int64_t head_dim = 0;
  float softmax_scale = 1;
};

struct MlaShape {
  int64_t num_heads = 0;
  int64_t latent_dim = 0;
  int64_t rope_dim = 0;
  float softmax_scale = 1;
};

}  // namespace tessera::kernels

#endif  // TESSERA_KERNELS_OP_TYPES_H_
