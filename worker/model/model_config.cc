#include "worker/model/model_config.h"

#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "services/base/status_macros.h"
#include "worker/model/config_reader.h"

namespace tessera::model {
namespace {

using nlohmann::json;

constexpr char kArchitecture[] = "DeepseekVLV2ForCausalLM";
constexpr char kModelType[] = "deepseek_vl_v2";

// Bounds far above every published size, low enough that no product of four dimensions leaves
// int64.
constexpr int64_t kMaxWidth = 65536;
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxHeads = 1024;
constexpr int64_t kMaxVocab = 4'000'000;
constexpr int64_t kMaxPositions = 1'048'576;
constexpr int64_t kMaxExperts = 512;  // kernels.h, GateParams
constexpr int64_t kMaxTopK = 32;
constexpr int64_t kMaxTokenId = INT32_MAX;
constexpr int64_t kMaxConfigBytes = 16 << 20;

absl::Status ReadVision(const json& object, VisionConfig* vision) {
  ConfigReader reader(object, "vision_config");
  reader.OnlyText("model_name", "siglip_so400m_patch14_384");
  reader.OnlyBool("class_token", false);
  reader.OnlyInt("select_layer", -1);
  reader.Int("image_size", 1, 4096, &vision->image_size);
  reader.Int("patch_size", 1, 256, &vision->patch_size);
  reader.Int("width", 1, kMaxWidth, &vision->width);
  reader.Int("layers", 1, kMaxLayers, &vision->layers);
  reader.Int("heads", 1, kMaxHeads, &vision->heads);
  reader.Double("mlp_ratio", 0.01, 64, &vision->mlp_ratio);
  reader.Require(vision->patch_size <= vision->image_size, "patch_size", vision->patch_size,
                 absl::StrCat("at most image_size (", vision->image_size, ")"));
  reader.Require(vision->width % vision->heads == 0, "width", vision->width,
                 absl::StrCat("a multiple of heads (", vision->heads, ")"));
  reader.Require(vision->mlp_width() >= 1, "mlp_ratio", vision->mlp_width(),
                 "large enough for an MLP width of 1");
  return reader.status();
}

absl::Status ReadProjector(const json& object, ProjectorConfig* projector) {
  ConfigReader reader(object, "projector_config");
  reader.OnlyText("projector_type", "downsample_mlp_gelu");
  reader.OnlyBool("token_pooling", false);
  reader.Int("input_dim", 1, kMaxWidth, &projector->input_dim);
  reader.Int("n_embed", 1, kMaxWidth, &projector->n_embed);
  reader.Int("depth", 2, 16, &projector->depth);
  reader.Int("mlp_ratio", 1, 64, &projector->mlp_ratio);
  reader.Int("downsample_ratio", 1, 16, &projector->downsample_ratio);
  return reader.status();
}

absl::Status ReadRopeScaling(const json& language_object, LanguageConfig* language) {
  const auto entry = language_object.find("rope_scaling");
  if (entry == language_object.end() || entry->is_null()) return absl::OkStatus();
  if (!entry->is_object()) {
    return absl::InvalidArgumentError(
        "config.json: language_config.rope_scaling is neither null nor an object");
  }
  ConfigReader reader(*entry, "language_config.rope_scaling");
  std::string type;
  reader.Text("rope_type", &type);
  reader.Text("type", &type);
  TESSERA_RETURN_IF_ERROR(reader.status());
  if (type != "yarn") {
    return absl::UnimplementedError(
        absl::StrCat("config.json: language_config.rope_scaling.type is \"", type.substr(0, 60),
                     "\"; supported: yarn"));
  }
  YarnConfig yarn;
  reader.Double("factor", 1e-3, 1e6, &yarn.factor);
  reader.Double("beta_fast", 1e-6, 1e6, &yarn.beta_fast);
  reader.Double("beta_slow", 1e-6, 1e6, &yarn.beta_slow);
  reader.Double("mscale", 0, 1e3, &yarn.mscale);
  reader.Double("mscale_all_dim", 0, 1e3, &yarn.mscale_all_dim);
  reader.Int("original_max_position_embeddings", 1, kMaxPositions,
             &yarn.original_max_position_embeddings);
  TESSERA_RETURN_IF_ERROR(reader.status());
  if (!language->use_mla) {
    return absl::UnimplementedError(
        "config.json: language_config.rope_scaling.type is \"yarn\" with use_mla false; supported: "
        "yarn with use_mla true");
  }
  language->yarn = yarn;
  return absl::OkStatus();
}

void ReadAttention(ConfigReader& reader, LanguageConfig* language) {
  std::optional<int64_t> kv_heads = language->num_key_value_heads;
  std::optional<int64_t> kv_lora_rank = language->kv_lora_rank;
  reader.Bool("use_mla", &language->use_mla);
  reader.Int("num_attention_heads", 1, kMaxHeads, &language->num_attention_heads);
  reader.IntOrNull("num_key_value_heads", 1, kMaxHeads, &kv_heads);
  reader.IntOrNull("kv_lora_rank", 0, kMaxWidth, &kv_lora_rank);
  reader.IntOrNull("q_lora_rank", 0, kMaxWidth, &language->q_lora_rank);
  reader.Int("qk_rope_head_dim", 0, kMaxWidth, &language->qk_rope_head_dim);
  reader.Int("qk_nope_head_dim", 0, kMaxWidth, &language->qk_nope_head_dim);
  reader.Int("v_head_dim", 0, kMaxWidth, &language->v_head_dim);
  reader.Bool("attention_bias", &language->attention_bias);
  reader.Double("rope_theta", 1, 1e12, &language->rope_theta);
  const int64_t heads = language->num_attention_heads;
  language->num_key_value_heads = kv_heads.value_or(heads);
  language->kv_lora_rank = kv_lora_rank.value_or(0);
  if (language->use_mla) {
    reader.Require(language->kv_lora_rank >= 1, "kv_lora_rank", language->kv_lora_rank,
                   "at least 1 with use_mla true");
    reader.Require(language->q_lora_rank.value_or(1) >= 1, "q_lora_rank",
                   language->q_lora_rank.value_or(1), "null or at least 1 with use_mla true");
    reader.Require(language->qk_rope_head_dim >= 2 && language->qk_rope_head_dim % 2 == 0,
                   "qk_rope_head_dim", language->qk_rope_head_dim,
                   "even and at least 2 with use_mla true");
    reader.Require(language->qk_nope_head_dim >= 1, "qk_nope_head_dim", language->qk_nope_head_dim,
                   "at least 1 with use_mla true");
    reader.Require(language->v_head_dim >= 1, "v_head_dim", language->v_head_dim,
                   "at least 1 with use_mla true");
    return;
  }
  reader.Require(language->hidden_size % heads == 0, "hidden_size", language->hidden_size,
                 absl::StrCat("a multiple of num_attention_heads (", heads, ")"));
  reader.Require(
      heads % language->num_key_value_heads == 0, "num_attention_heads", heads,
      absl::StrCat("a multiple of num_key_value_heads (", language->num_key_value_heads, ")"));
  reader.Require(language->head_dim() % 2 == 0, "hidden_size", language->hidden_size,
                 "such that hidden_size / num_attention_heads is even");
}

absl::Status ReadRouterNames(const json& object, LanguageConfig* language) {
  ConfigReader reader(object, "language_config");
  std::string method = "greedy";
  std::string scoring = "softmax";
  reader.Text("topk_method", &method);
  reader.Text("scoring_func", &scoring);
  TESSERA_RETURN_IF_ERROR(reader.status());
  if (method == "greedy" || method == "gready") {  // the official class default is spelled so
    language->gate_method = kernels::GateMethod::kGreedy;
  } else if (method == "group_limited_greedy") {
    language->gate_method = kernels::GateMethod::kGroupLimitedGreedy;
  } else if (method == "noaux_tc") {
    language->gate_method = kernels::GateMethod::kNoAuxTc;
  } else {
    return absl::UnimplementedError(
        absl::StrCat("config.json: language_config.topk_method is \"", method.substr(0, 60),
                     "\"; supported: greedy, group_limited_greedy, noaux_tc"));
  }
  if (scoring != "softmax" && scoring != "sigmoid") {
    return absl::UnimplementedError(absl::StrCat("config.json: language_config.scoring_func is \"",
                                                 scoring.substr(0, 60),
                                                 "\"; supported: softmax, sigmoid"));
  }
  language->scoring =
      scoring == "softmax" ? kernels::GateScoring::kSoftmax : kernels::GateScoring::kSigmoid;
  return absl::OkStatus();
}

void ReadExperts(ConfigReader& reader, LanguageConfig* language) {
  reader.IntOrNull("n_routed_experts", 1, kMaxExperts, &language->n_routed_experts);
  reader.IntOrNull("n_shared_experts", 1, 64, &language->n_shared_experts);
  reader.Int("moe_intermediate_size", 1, kMaxWidth, &language->moe_intermediate_size);
  reader.IntNullIsAbsent("num_experts_per_tok", 1, kMaxTopK, &language->num_experts_per_tok);
  reader.IntNullIsAbsent("n_group", 1, kMaxExperts, &language->n_group);
  reader.IntNullIsAbsent("topk_group", 1, kMaxExperts, &language->topk_group);
  reader.Int("moe_layer_freq", 1, kMaxLayers, &language->moe_layer_freq);
  reader.Int("first_k_dense_replace", 0, kMaxLayers, &language->first_k_dense_replace);
  reader.Bool("norm_topk_prob", &language->norm_topk_prob);
  reader.Double("routed_scaling_factor", 0, 1e6, &language->routed_scaling_factor);
  if (!language->n_routed_experts.has_value()) return;
  const int64_t experts = *language->n_routed_experts;
  reader.Require(language->num_experts_per_tok >= 1 && language->num_experts_per_tok <= experts,
                 "num_experts_per_tok", language->num_experts_per_tok,
                 absl::StrCat("in 1..n_routed_experts (", experts, ")"));
  if (language->gate_method == kernels::GateMethod::kGreedy) return;  // groups are not looked at
  reader.Require(experts % language->n_group == 0, "n_group", language->n_group,
                 absl::StrCat("a divisor of n_routed_experts (", experts, ")"));
  reader.Require(language->topk_group <= language->n_group, "topk_group", language->topk_group,
                 absl::StrCat("at most n_group (", language->n_group, ")"));
  reader.Require(
      language->gate_method != kernels::GateMethod::kNoAuxTc || experts / language->n_group >= 2,
      "n_group", language->n_group,
      "such that a group holds two experts at least (noaux_tc adds their two best scores)");
}

absl::Status ReadLanguage(const json& object, LanguageConfig* language) {
  TESSERA_RETURN_IF_ERROR(ReadRouterNames(object, language));
  ConfigReader reader(object, "language_config");
  reader.OnlyText("hidden_act", "silu");
  reader.Int("vocab_size", 1, kMaxVocab, &language->vocab_size);
  reader.Int("hidden_size", 1, kMaxWidth, &language->hidden_size);
  reader.Int("intermediate_size", 1, kMaxWidth, &language->intermediate_size);
  reader.Int("num_hidden_layers", 1, kMaxLayers, &language->num_hidden_layers);
  reader.Int("max_position_embeddings", 1, kMaxPositions, &language->max_position_embeddings);
  reader.Double("rms_norm_eps", 0, 1, &language->rms_norm_eps);
  reader.Bool("tie_word_embeddings", &language->tie_word_embeddings);
  int64_t bos = language->bos_token_id;
  int64_t eos = language->eos_token_id;
  reader.IntNullIsAbsent("bos_token_id", 0, kMaxTokenId, &bos);
  reader.IntNullIsAbsent("eos_token_id", 0, kMaxTokenId, &eos);
  language->bos_token_id = static_cast<int32_t>(bos);
  language->eos_token_id = static_cast<int32_t>(eos);
  ReadAttention(reader, language);
  ReadExperts(reader, language);
  TESSERA_RETURN_IF_ERROR(reader.status());
  return ReadRopeScaling(object, language);
}

// UNIMPLEMENTED names what the file claims to be. Some published files lack the list: then
// model_type decides.
absl::Status CheckArchitecture(const json& root) {
  const auto list = root.find("architectures");
  if (list != root.end() && list->is_array() && !list->empty()) {
    for (const json& name : *list) {
      if (name.is_string() && name.get_ref<const std::string&>() == kArchitecture)
        return absl::OkStatus();
    }
    const std::string found =
        list->front().is_string() ? list->front().get<std::string>().substr(0, 60) : "no text";
    return absl::UnimplementedError(absl::StrCat("config.json: architectures names \"", found,
                                                 "\"; supported: ", kArchitecture));
  }
  const auto type = root.find("model_type");
  if (type != root.end() && type->is_string() && type->get_ref<const std::string&>() == kModelType)
    return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat("config.json: neither architectures names ",
                                               kArchitecture, " nor model_type is ", kModelType));
}

absl::StatusOr<json> Section(const json& root, const char* key) {
  const auto entry = root.find(key);
  if (entry == root.end()) return json::object();
  if (!entry->is_object())
    return absl::InvalidArgumentError(absl::StrCat("config.json: ", key, " is not an object"));
  return *entry;
}

absl::Status CheckTogether(const ModelConfig& config) {
  if (config.projector.input_dim != config.vision.width) {
    return absl::InvalidArgumentError(
        absl::StrCat("config.json: projector_config.input_dim is ", config.projector.input_dim,
                     "; must be vision_config.width (", config.vision.width, ")"));
  }
  if (config.projector.n_embed != config.language.hidden_size) {
    return absl::InvalidArgumentError(
        absl::StrCat("config.json: projector_config.n_embed is ", config.projector.n_embed,
                     "; must be language_config.hidden_size (", config.language.hidden_size, ")"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view json_text) {
  const json root =
      json::parse(json_text.begin(), json_text.end(), nullptr, /*allow_exceptions=*/false);
  if (!root.is_object()) return absl::InvalidArgumentError("config.json: not a JSON object");
  TESSERA_RETURN_IF_ERROR(CheckArchitecture(root));
  ModelConfig config;
  ConfigReader reader(root, "");
  std::string tile_tag = "(absent)";
  std::string global_view_pos = "head";
  reader.Text("tile_tag", &tile_tag);
  reader.Text("global_view_pos", &global_view_pos);
  reader.Text("torch_dtype", &config.torch_dtype);
  TESSERA_RETURN_IF_ERROR(reader.status());
  if (tile_tag != "2D") {
    return absl::UnimplementedError(
        absl::StrCat("config.json: tile_tag is \"", tile_tag.substr(0, 60), "\"; supported: 2D"));
  }
  config.global_view_first = global_view_pos == "head";
  if (!root.contains("language_config"))
    return absl::InvalidArgumentError("config.json: language_config is missing");
  TESSERA_ASSIGN_OR_RETURN(const json vision, Section(root, "vision_config"));
  TESSERA_ASSIGN_OR_RETURN(const json projector, Section(root, "projector_config"));
  TESSERA_ASSIGN_OR_RETURN(const json language, Section(root, "language_config"));
  TESSERA_RETURN_IF_ERROR(ReadVision(vision, &config.vision));
  TESSERA_RETURN_IF_ERROR(ReadProjector(projector, &config.projector));
  TESSERA_RETURN_IF_ERROR(ReadLanguage(language, &config.language));
  TESSERA_RETURN_IF_ERROR(CheckTogether(config));
  return config;
}

absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& model_dir) {
  std::ifstream in(absl::StrCat(model_dir, "/config.json"), std::ios::binary);
  if (!in) return absl::NotFoundError("config.json is not in the model folder, or cannot be read");
  std::string text;
  text.resize(kMaxConfigBytes + 1);
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));
  if (static_cast<int64_t>(text.size()) > kMaxConfigBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("config.json: larger than ", kMaxConfigBytes, " bytes"));
  }
  return ParseModelConfig(text);
}

}  // namespace tessera::model
