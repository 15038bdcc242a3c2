// The model's shape, read from an official config.json (nested vision_config, projector_config,
// language_config). Defaults are the official classes' defaults: checkpoints leave out keys that
// are equal to them.
#ifndef TESSERA_WORKER_MODEL_MODEL_CONFIG_H_
#define TESSERA_WORKER_MODEL_MODEL_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "kernels/kernels.h"

namespace tessera::model {

struct VisionConfig {
  int64_t image_size = 384;  // pixels, side of a tile
  int64_t patch_size = 16;   // pixels
  int64_t width = 1024;
  int64_t layers = 24;
  int64_t heads = 16;
  double mlp_ratio = 4.0;  // MLP width = int(width * mlp_ratio)
  int64_t grid() const { return image_size / patch_size; }
  int64_t patches() const { return grid() * grid(); }
  int64_t mlp_width() const { return static_cast<int64_t>(static_cast<double>(width) * mlp_ratio); }
};

struct ProjectorConfig {
  int64_t input_dim = 1152;
  int64_t n_embed = 2048;
  int64_t depth = 2;
  int64_t mlp_ratio = 1;
  int64_t downsample_ratio = 2;
};

struct YarnConfig {
  double factor = 1;
  double beta_fast = 32;
  double beta_slow = 1;
  double mscale = 1;
  double mscale_all_dim = 0;
  int64_t original_max_position_embeddings = 4096;
};

struct LanguageConfig {
  int64_t vocab_size = 102400;
  int64_t hidden_size = 4096;
  int64_t intermediate_size = 11008;
  int64_t moe_intermediate_size = 1407;
  int64_t num_hidden_layers = 30;
  int64_t num_attention_heads = 32;
  int64_t num_key_value_heads = 32;
  std::optional<int64_t> n_shared_experts;
  std::optional<int64_t> n_routed_experts;
  double routed_scaling_factor = 1.0;
  bool use_mla = true;
  int64_t kv_lora_rank = 512;
  std::optional<int64_t> q_lora_rank = 1536;  // an explicit null means none
  int64_t qk_rope_head_dim = 64;
  int64_t qk_nope_head_dim = 128;
  int64_t v_head_dim = 128;
  kernels::GateMethod gate_method = kernels::GateMethod::kGreedy;
  kernels::GateScoring scoring = kernels::GateScoring::kSoftmax;
  int64_t n_group = 1;
  int64_t topk_group = 1;
  int64_t num_experts_per_tok = 0;
  int64_t moe_layer_freq = 1;
  int64_t first_k_dense_replace = 0;
  bool norm_topk_prob = false;
  int64_t max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000.0;
  std::optional<YarnConfig> yarn;
  bool attention_bias = false;
  bool tie_word_embeddings = false;
  int32_t bos_token_id = 100000;
  int32_t eos_token_id = 100001;

  bool IsMoeLayer(int64_t layer) const {
    return n_routed_experts.has_value() && layer >= first_k_dense_replace &&
           layer % moe_layer_freq == 0;
  }
  int64_t head_dim() const { return hidden_size / num_attention_heads; }  // MHA
};

struct ModelConfig {
  VisionConfig vision;
  ProjectorConfig projector;
  LanguageConfig language;
  bool global_view_first = true;  // global_view_pos "head"
  std::string torch_dtype;        // as the file says it: "bfloat16", …; informative
};

// Parses and validates the text of a config.json. UNIMPLEMENTED: an architecture other than
// DeepseekVLV2ForCausalLM or a feature that the family does not have; INVALID_ARGUMENT: names key,
// found value and the bound.
absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view json_text);

// Reads model_dir/config.json. NOT_FOUND if there is none.
absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& model_dir);

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_MODEL_CONFIG_H_
