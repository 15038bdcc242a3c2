// The model's weights in memory, mirroring its layers. Matrices are packed for the GEMM; vectors
// are float32.
#ifndef TESSERA_WORKER_MODEL_WEIGHTS_H_
#define TESSERA_WORKER_MODEL_WEIGHTS_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/kernels.h"
#include "worker/model/expert_memory.h"
#include "worker/model/mapped_buffer.h"

namespace tessera::model {

using FloatVector = std::vector<float>;

// y = x · Wᵀ + bias
struct LinearWeights {
  kernels::PackedWeight weight;
  FloatVector bias;  // [n], or empty
  const float* bias_data() const { return bias.empty() ? nullptr : bias.data(); }
};

struct LayerNormWeights {
  FloatVector gamma;
  FloatVector beta;
};

struct VisionBlockWeights {
  LayerNormWeights norm1;
  LinearWeights qkv;   // [3 * width, width]: q, k, v; heads inside each
  LinearWeights proj;  // [width, width]
  LayerNormWeights norm2;
  LinearWeights fc1;  // [mlp, width]
  LinearWeights fc2;  // [width, mlp]
};

struct VisionWeights {
  LinearWeights patch_embed;  // [width, 3 * patch * patch]
  FloatVector pos_embed;      // [patches, width]
  std::vector<VisionBlockWeights> blocks;
  LayerNormWeights norm;
};

struct ProjectorWeights {
  std::vector<LinearWeights> layers;
  FloatVector image_newline;   // [hidden]
  FloatVector view_separator;  // [hidden]; the checkpoint spells it view_seperator
};

struct MhaWeights {
  LinearWeights qkv;  // [(heads + 2 * kv_heads) * head_dim, hidden]
  LinearWeights o;    // [hidden, heads * head_dim]
};

// The absorbed form: kv_b_proj is split per head into w_uk, applied to the query, and w_uv, applied
// to the attended latent.
struct MlaWeights {
  // Without query compression: rows are [q_nope of all heads | q_rope of all heads | latent |
  // k_rope]; with it: [q_a | latent | k_rope].
  LinearWeights down;
  FloatVector q_a_norm;  // [q_lora_rank], or empty
  kernels::PackedWeight
      q_b;  // [q_nope of all heads | q_rope of all heads, q_lora_rank]; n == 0 without compression
  FloatVector kv_a_norm;                    // [latent]
  std::vector<kernels::PackedWeight> w_uk;  // per head [latent, nope]: the stored rows transposed
  std::vector<kernels::PackedWeight> w_uv;  // per head [v_head_dim, latent]
  LinearWeights o;                          // [hidden, heads * v_head_dim]
};

// SwiGLU
struct MlpWeights {
  kernels::PackedWeight gate_up;  // [2 * width, hidden]: gate rows, then up rows
  kernels::PackedWeight down;     // [hidden, width]
};

struct MoeWeights {
  kernels::PackedWeight router;  // [experts, hidden], float32
  FloatVector correction_bias;   // [experts] with noaux_tc, else empty
  // The routed experts that are here: global ids, ascending, and their weights in the same order.
  std::vector<int32_t> expert_ids;
  std::vector<MlpWeights> experts;
  ExpertMemory expert_memory;  // backs `experts`
  std::optional<MlpWeights> shared;
};

struct DecoderLayerWeights {
  FloatVector input_norm;
  FloatVector post_attention_norm;
  std::optional<MhaWeights> mha;  // one of the two
  std::optional<MlaWeights> mla;
  std::optional<MlpWeights> mlp;  // one of the two
  std::optional<MoeWeights> moe;
};

// Row-major [vocab, hidden] in the mapped checkpoint (or in a copy where the file misaligns it).
struct EmbeddingTable {
  const void* data = nullptr;
  kernels::DType dtype = kernels::DType::kBF16;
};

// Memory of packed weights, handed out in pieces and freed as a whole. Not thread safe.
class WeightArena {
 public:
  // 64-byte aligned, zero-filled. RESOURCE_EXHAUSTED as MappedBuffer.
  absl::StatusOr<void*> Allocate(int64_t bytes);
  static int64_t Aligned(int64_t bytes);  // what a piece of this size takes
  int64_t allocated_bytes() const { return allocated_bytes_; }

 private:
  std::vector<MappedBuffer> slabs_;
  int64_t used_in_last_slab_ = 0;
  int64_t allocated_bytes_ = 0;
};

// What stands before the first decoder layer and after the last.
struct EndWeights {
  VisionWeights vision;
  ProjectorWeights projector;
  EmbeddingTable embedding;
  FloatVector final_norm;
  kernels::PackedWeight lm_head;  // [vocab, hidden]
};

struct ShardWeights {
  WeightArena arena;  // backs every PackedWeight below but those of routed experts
  std::vector<DecoderLayerWeights> layers;
  std::optional<EndWeights> ends;
};

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_WEIGHTS_H_
