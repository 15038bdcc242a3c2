#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "worker/model/load_weights.h"

namespace tessera::model {
namespace {

// One bias vector for stacked projections; zeros where a part has none.
absl::Status AppendBias(const std::string& tensor, int64_t n, bool stored, WeightLoader& loader,
                        FloatVector* bias) {
  if (!stored) {
    bias->resize(bias->size() + n, 0.0f);
    return absl::OkStatus();
  }
  TESSERA_ASSIGN_OR_RETURN(const FloatVector values, loader.Vector(tensor, {n}));
  bias->insert(bias->end(), values.begin(), values.end());
  return absl::OkStatus();
}

absl::StatusOr<MhaWeights> LoadMha(const LanguageConfig& config, const std::string& prefix,
                                   WeightLoader& loader) {
  const int64_t hidden = config.hidden_size;
  const int64_t q_rows = config.num_attention_heads * config.head_dim();
  const int64_t kv_rows = config.num_key_value_heads * config.head_dim();
  MhaWeights weights;
  TESSERA_ASSIGN_OR_RETURN(weights.qkv.weight,
                           loader.Stacked({{prefix + "q_proj.weight", q_rows, 0, q_rows},
                                           {prefix + "k_proj.weight", kv_rows, 0, kv_rows},
                                           {prefix + "v_proj.weight", kv_rows, 0, kv_rows}},
                                          hidden));
  if (config.attention_bias) {
    TESSERA_RETURN_IF_ERROR(
        AppendBias(prefix + "q_proj.bias", q_rows, true, loader, &weights.qkv.bias));
    TESSERA_RETURN_IF_ERROR(
        AppendBias(prefix + "k_proj.bias", kv_rows, true, loader, &weights.qkv.bias));
    TESSERA_RETURN_IF_ERROR(
        AppendBias(prefix + "v_proj.bias", kv_rows, true, loader, &weights.qkv.bias));
  }
  TESSERA_ASSIGN_OR_RETURN(weights.o,
                           loader.Linear(prefix + "o_proj", hidden, q_rows, config.attention_bias));
  return weights;
}

// The stored rows are [nope | rope] per head; in memory the nope rows of all heads stand before the
// rope rows of all heads, so that both halves of the query are column ranges of one product.
std::vector<RowRange> QueryRows(const LanguageConfig& config, const std::string& tensor) {
  const int64_t heads = config.num_attention_heads;
  const int64_t nope = config.qk_nope_head_dim;
  const int64_t rope = config.qk_rope_head_dim;
  const int64_t stored_rows = heads * (nope + rope);
  std::vector<RowRange> ranges;
  for (int64_t h = 0; h < heads; ++h)
    ranges.push_back({tensor, stored_rows, h * (nope + rope), nope});
  for (int64_t h = 0; h < heads; ++h)
    ranges.push_back({tensor, stored_rows, h * (nope + rope) + nope, rope});
  return ranges;
}

absl::Status LoadMlaDown(const LanguageConfig& config, const std::string& prefix,
                         WeightLoader& loader, MlaWeights* weights) {
  const int64_t hidden = config.hidden_size;
  const int64_t kv_rows = config.kv_lora_rank + config.qk_rope_head_dim;
  const int64_t query_rows =
      config.num_attention_heads * (config.qk_nope_head_dim + config.qk_rope_head_dim);
  const bool compressed = config.q_lora_rank.has_value();
  const int64_t first_rows = compressed ? *config.q_lora_rank : query_rows;
  std::vector<RowRange> ranges =
      compressed ? std::vector<RowRange>{{prefix + "q_a_proj.weight", first_rows, 0, first_rows}}
                 : QueryRows(config, prefix + "q_proj.weight");
  ranges.push_back({prefix + "kv_a_proj_with_mqa.weight", kv_rows, 0, kv_rows});
  TESSERA_ASSIGN_OR_RETURN(weights->down.weight, loader.Stacked(ranges, hidden));
  if (config.attention_bias) {  // q_proj and q_b_proj never have one
    TESSERA_RETURN_IF_ERROR(
        AppendBias(prefix + "q_a_proj.bias", first_rows, compressed, loader, &weights->down.bias));
    TESSERA_RETURN_IF_ERROR(
        AppendBias(prefix + "kv_a_proj_with_mqa.bias", kv_rows, true, loader, &weights->down.bias));
  }
  if (compressed) {
    TESSERA_ASSIGN_OR_RETURN(weights->q_a_norm,
                             loader.Vector(prefix + "q_a_layernorm.weight", {first_rows}));
    TESSERA_ASSIGN_OR_RETURN(
        weights->q_b, loader.Stacked(QueryRows(config, prefix + "q_b_proj.weight"), first_rows));
  }
  TESSERA_ASSIGN_OR_RETURN(weights->kv_a_norm,
                           loader.Vector(prefix + "kv_a_layernorm.weight", {config.kv_lora_rank}));
  return absl::OkStatus();
}

absl::StatusOr<MlaWeights> LoadMla(const LanguageConfig& config, const std::string& prefix,
                                   WeightLoader& loader) {
  const int64_t nope = config.qk_nope_head_dim;
  const int64_t v = config.v_head_dim;
  const int64_t heads = config.num_attention_heads;
  const std::string kv_b = prefix + "kv_b_proj.weight";
  MlaWeights weights;
  TESSERA_RETURN_IF_ERROR(LoadMlaDown(config, prefix, loader, &weights));
  for (int64_t h = 0; h < heads; ++h) {
    const int64_t first = h * (nope + v);
    TESSERA_ASSIGN_OR_RETURN(
        auto w_uk, loader.Transposed({kv_b, heads * (nope + v), first, nope}, config.kv_lora_rank));
    TESSERA_ASSIGN_OR_RETURN(
        auto w_uv,
        loader.Stacked({{kv_b, heads * (nope + v), first + nope, v}}, config.kv_lora_rank));
    weights.w_uk.push_back(w_uk);
    weights.w_uv.push_back(w_uv);
  }
  TESSERA_ASSIGN_OR_RETURN(weights.o, loader.Linear(prefix + "o_proj", config.hidden_size,
                                                    heads * v, config.attention_bias));
  return weights;
}

// The stored matrices of a SwiGLU MLP.
struct MlpTensors {
  std::vector<RowRange> gate_up;
  std::vector<RowRange> down;
};

MlpTensors TensorsOfMlp(int64_t hidden, int64_t width, const std::string& prefix) {
  return {{{prefix + "gate_proj.weight", width, 0, width},
           {prefix + "up_proj.weight", width, 0, width}},
          {{prefix + "down_proj.weight", hidden, 0, hidden}}};
}

absl::StatusOr<MlpWeights> LoadMlp(int64_t hidden, int64_t width, const std::string& prefix,
                                   WeightLoader& loader) {
  const MlpTensors tensors = TensorsOfMlp(hidden, width, prefix);
  MlpWeights weights;
  TESSERA_ASSIGN_OR_RETURN(weights.gate_up, loader.Stacked(tensors.gate_up, hidden));
  TESSERA_ASSIGN_OR_RETURN(weights.down, loader.Stacked(tensors.down, width));
  return weights;
}

MlpTensors TensorsOfExpert(const LanguageConfig& config, int64_t layer, int32_t expert) {
  return TensorsOfMlp(config.hidden_size, config.moe_intermediate_size,
                      absl::StrCat("language.model.layers.", layer, ".mlp.experts.", expert, "."));
}

// Loads into memory that is already the expert's, gate_up_bytes of it for the first matrix.
absl::StatusOr<MlpWeights> LoadInPlace(const LanguageConfig& config, const MlpTensors& tensors,
                                       WeightLoader& loader, uint8_t* place,
                                       int64_t gate_up_bytes) {
  MlpWeights weights;
  TESSERA_ASSIGN_OR_RETURN(weights.gate_up,
                           loader.Stacked(tensors.gate_up, config.hidden_size, place));
  TESSERA_ASSIGN_OR_RETURN(weights.down,
                           loader.Stacked(tensors.down, config.moe_intermediate_size,
                                          place == nullptr ? nullptr : place + gate_up_bytes));
  return weights;
}

absl::Status LoadExperts(const LanguageConfig& config, int64_t layer,
                         absl::Span<const int32_t> experts, WeightLoader& loader,
                         MoeWeights* weights) {
  std::map<int32_t, int64_t> bytes_of_expert;
  for (const int32_t expert : experts) {
    const MlpTensors tensors = TensorsOfExpert(config, layer, expert);
    TESSERA_ASSIGN_OR_RETURN(const int64_t gate_up,
                             loader.PackedBytes(tensors.gate_up, config.hidden_size));
    TESSERA_ASSIGN_OR_RETURN(const int64_t down,
                             loader.PackedBytes(tensors.down, config.moe_intermediate_size));
    bytes_of_expert.emplace(expert, gate_up + down);
  }
  if (!loader.is_survey()) {
    TESSERA_RETURN_IF_ERROR(weights->expert_memory.Reserve(bytes_of_expert));
  }
  for (const int32_t expert : experts) {
    TESSERA_ASSIGN_OR_RETURN(
        const MlpWeights loaded,
        LoadExpertWeights(config, layer, expert, loader, &weights->expert_memory));
    weights->expert_ids.push_back(expert);
    weights->experts.push_back(loaded);
  }
  return absl::OkStatus();
}

absl::StatusOr<MoeWeights> LoadMoe(const LanguageConfig& config, int64_t layer,
                                   absl::Span<const int32_t> experts, const std::string& prefix,
                                   WeightLoader& loader) {
  const int64_t hidden = config.hidden_size;
  const int64_t all_experts = *config.n_routed_experts;
  MoeWeights weights;
  TESSERA_ASSIGN_OR_RETURN(weights.router,
                           loader.FloatMatrix(prefix + "gate.weight", all_experts, hidden));
  if (config.gate_method == kernels::GateMethod::kNoAuxTc) {
    TESSERA_ASSIGN_OR_RETURN(weights.correction_bias,
                             loader.Vector(prefix + "gate.e_score_correction_bias", {all_experts}));
  }
  TESSERA_RETURN_IF_ERROR(LoadExperts(config, layer, experts, loader, &weights));
  if (config.n_shared_experts.has_value()) {
    const int64_t width = config.moe_intermediate_size * *config.n_shared_experts;
    TESSERA_ASSIGN_OR_RETURN(weights.shared,
                             LoadMlp(hidden, width, prefix + "shared_experts.", loader));
  }
  return weights;
}

}  // namespace

absl::StatusOr<MlpWeights> LoadExpertWeights(const LanguageConfig& config, int64_t layer,
                                             int32_t expert, WeightLoader& loader,
                                             ExpertMemory* memory) {
  const MlpTensors tensors = TensorsOfExpert(config, layer, expert);
  if (loader.is_survey()) return LoadInPlace(config, tensors, loader, nullptr, 0);
  TESSERA_ASSIGN_OR_RETURN(const int64_t gate_up,
                           loader.PackedBytes(tensors.gate_up, config.hidden_size));
  TESSERA_ASSIGN_OR_RETURN(const int64_t down,
                           loader.PackedBytes(tensors.down, config.moe_intermediate_size));
  TESSERA_ASSIGN_OR_RETURN(void* const place, memory->Allocate(expert, gate_up + down));
  absl::StatusOr<MlpWeights> weights =
      LoadInPlace(config, tensors, loader, static_cast<uint8_t*>(place), gate_up);
  if (!weights.ok()) memory->Free(expert);
  return weights;
}

absl::StatusOr<DecoderLayerWeights> LoadLayerWeights(const LanguageConfig& config, int64_t layer,
                                                     absl::Span<const int32_t> experts,
                                                     WeightLoader& loader) {
  const std::string prefix = absl::StrCat("language.model.layers.", layer, ".");
  DecoderLayerWeights weights;
  TESSERA_ASSIGN_OR_RETURN(weights.input_norm,
                           loader.Vector(prefix + "input_layernorm.weight", {config.hidden_size}));
  TESSERA_ASSIGN_OR_RETURN(
      weights.post_attention_norm,
      loader.Vector(prefix + "post_attention_layernorm.weight", {config.hidden_size}));
  if (config.use_mla) {
    TESSERA_ASSIGN_OR_RETURN(weights.mla, LoadMla(config, prefix + "self_attn.", loader));
  } else {
    TESSERA_ASSIGN_OR_RETURN(weights.mha, LoadMha(config, prefix + "self_attn.", loader));
  }
  if (config.IsMoeLayer(layer)) {
    TESSERA_ASSIGN_OR_RETURN(weights.moe, LoadMoe(config, layer, experts, prefix + "mlp.", loader));
  } else {
    TESSERA_ASSIGN_OR_RETURN(weights.mlp, LoadMlp(config.hidden_size, config.intermediate_size,
                                                  prefix + "mlp.", loader));
  }
  return weights;
}

absl::StatusOr<EndWeights> LoadEndWeights(const ModelConfig& config, WeightLoader& loader) {
  constexpr char kEmbedding[] = "language.model.embed_tokens.weight";
  const LanguageConfig& language = config.language;
  EndWeights ends;
  TESSERA_ASSIGN_OR_RETURN(ends.vision, LoadVisionWeights(config.vision, loader));
  TESSERA_ASSIGN_OR_RETURN(ends.projector, LoadProjectorWeights(config.projector, loader));
  TESSERA_ASSIGN_OR_RETURN(ends.final_norm,
                           loader.Vector("language.model.norm.weight", {language.hidden_size}));
  const std::string head = language.tie_word_embeddings ? kEmbedding : "language.lm_head.weight";
  TESSERA_ASSIGN_OR_RETURN(ends.lm_head,
                           loader.Matrix(head, language.vocab_size, language.hidden_size));
  TESSERA_ASSIGN_OR_RETURN(ends.embedding,
                           loader.Embedding(kEmbedding, language.vocab_size, language.hidden_size));
  return ends;
}

}  // namespace tessera::model
