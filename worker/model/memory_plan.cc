#include "worker/model/memory_plan.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "worker/model/layer_split.h"

namespace tessera::model {
namespace {

constexpr int64_t kFloatBytes = 4;
constexpr int64_t kMoeRowsPerSlice = 2048;  // as in moe_layer.cc
constexpr int64_t kTilesPerSlice = 4;       // as in vision_tower.cc

int64_t Resident(const PartSize& part, kernels::DType dtype) {
  return part.matrix * kernels::SizeOf(dtype) + part.vector * kFloatBytes;
}

PartSize LinearSize(int64_t n, int64_t k, bool bias = true) { return {n * k, bias ? n : 0}; }

PartSize VisionSize(const VisionConfig& vision) {
  const int64_t width = vision.width;
  const int64_t mlp = vision.mlp_width();
  PartSize block{0, 4 * width};  // two layer norms
  block += LinearSize(3 * width, width);
  block += LinearSize(width, width);
  block += LinearSize(mlp, width);
  block += LinearSize(width, mlp);
  PartSize total = LinearSize(width, 3 * vision.patch_size * vision.patch_size);
  total.vector += vision.patches() * width + 2 * width;
  for (int64_t i = 0; i < vision.layers; ++i) total += block;
  return total;
}

PartSize AttentionPoolSize(const VisionConfig& vision) {
  const int64_t width = vision.width;
  const int64_t mlp = vision.mlp_width();
  PartSize total{0, width + 2 * width};  // the query and a layer norm
  total += LinearSize(width, width);
  total += LinearSize(2 * width, width);
  total += LinearSize(width, width);
  total += LinearSize(mlp, width);
  total += LinearSize(width, mlp);
  return total;
}

PartSize ProjectorSize(const ProjectorConfig& projector) {
  PartSize total{0, 2 * projector.n_embed};
  const int64_t inner = projector.n_embed * projector.mlp_ratio;
  int64_t input = projector.input_dim * projector.downsample_ratio * projector.downsample_ratio;
  for (int64_t i = 0; i < projector.depth; ++i) {
    const int64_t output = i + 1 == projector.depth ? projector.n_embed : inner;
    total += LinearSize(output, input);
    input = output;
  }
  return total;
}

PartSize AttentionSize(const LanguageConfig& language) {
  const int64_t hidden = language.hidden_size;
  const int64_t heads = language.num_attention_heads;
  const bool bias = language.attention_bias;
  PartSize total;
  if (!language.use_mla) {
    total +=
        LinearSize((heads + 2 * language.num_key_value_heads) * language.head_dim(), hidden, bias);
    total += LinearSize(hidden, heads * language.head_dim(), bias);
    return total;
  }
  const int64_t query_rows = heads * (language.qk_nope_head_dim + language.qk_rope_head_dim);
  if (language.q_lora_rank.has_value()) {
    total += LinearSize(*language.q_lora_rank, hidden, bias);
    total += LinearSize(query_rows, *language.q_lora_rank, /*bias=*/false);
    total.vector += *language.q_lora_rank;
  } else {
    total += LinearSize(query_rows, hidden, /*bias=*/false);
  }
  total += LinearSize(language.kv_lora_rank + language.qk_rope_head_dim, hidden, bias);
  total.vector += language.kv_lora_rank;
  total += LinearSize(heads * (language.qk_nope_head_dim + language.v_head_dim),
                      language.kv_lora_rank, /*bias=*/false);
  total += LinearSize(hidden, heads * language.v_head_dim, bias);
  return total;
}

PartSize MlpSize(int64_t hidden, int64_t width) { return {3 * hidden * width, 0}; }

// Adds one layer's parts.
void AddLayer(const LanguageConfig& language, int64_t layer, ModelSize* size) {
  const int64_t hidden = language.hidden_size;
  size->attention += AttentionSize(language);
  size->norms.vector += 2 * hidden;
  if (!language.IsMoeLayer(layer)) {
    size->dense_mlp += MlpSize(hidden, language.intermediate_size);
    return;
  }
  const int64_t experts = *language.n_routed_experts;
  size->router.matrix += experts * hidden;
  if (language.gate_method == kernels::GateMethod::kNoAuxTc) size->router.vector += experts;
  for (int64_t e = 0; e < experts; ++e)
    size->routed_experts += MlpSize(hidden, language.moe_intermediate_size);
  size->shared_experts +=
      MlpSize(hidden, language.moe_intermediate_size * language.n_shared_experts.value_or(0));
}

// Bytes of one layer on a rank of `expert_ranks`, its share of the experts rounded up.
int64_t LayerBytes(const LanguageConfig& language, int64_t layer, int64_t expert_ranks,
                   kernels::DType dtype) {
  ModelSize size;
  AddLayer(language, layer, &size);
  int64_t bytes = Resident(size.attention, dtype) + Resident(size.dense_mlp, dtype) +
                  Resident(size.shared_experts, dtype) +
                  Resident(size.router, kernels::DType::kF32) + Resident(size.norms, dtype);
  if (language.IsMoeLayer(layer)) {
    const int64_t experts = (*language.n_routed_experts + expert_ranks - 1) / expert_ranks;
    bytes +=
        experts * Resident(MlpSize(language.hidden_size, language.moe_intermediate_size), dtype);
  }
  return bytes;
}

absl::Status CheckPlan(const ModelConfig& config, const Topology& topology,
                       const PlanOptions& options) {
  const int64_t experts = config.language.n_routed_experts.value_or(1);
  if (topology.expert_ranks < 1 || topology.expert_ranks > experts) {
    return absl::InvalidArgumentError(
        absl::StrCat("plan: expert_ranks is ", topology.expert_ranks, "; must be in 1..", experts));
  }
  if (options.memory_bytes < 0 || options.reserve_bytes < 0 || options.chunk_tokens < 1 ||
      options.max_tiles < 1) {
    return absl::InvalidArgumentError(
        "plan: memory, reserve, chunk tokens and tiles must not be negative, nor the last two 0");
  }
  return absl::OkStatus();
}

StagePlan PlanStage(const ModelConfig& config, const Topology& topology, const PlanOptions& options,
                    const LayerRange& range) {
  const ModelSize size = CountParameters(config);
  StagePlan plan;
  plan.first_layer = range.first;
  plan.num_layers = range.num;
  for (int64_t i = 0; i < plan.num_layers; ++i) {
    plan.weight_bytes += LayerBytes(config.language, plan.first_layer + i, topology.expert_ranks,
                                    options.weight_dtype);
  }
  plan.activation_bytes = LanguageActivationBytes(config.language, options.chunk_tokens);
  if (range.first == 0) {
    // The first stage has both ends of the model. The head is packed for the GEMM, so a tied one
    // stands beside the embedding table.
    plan.weight_bytes += Resident(size.vision, options.weight_dtype) +
                         Resident(size.projector, options.weight_dtype) +
                         2 * Resident(size.embeddings, options.weight_dtype) +
                         config.language.hidden_size * kFloatBytes;
    plan.activation_bytes += VisionActivationBytes(config, options.max_tiles);
  }
  plan.kv_bytes_per_token = KvBytesPerToken(config.language, options.kv_dtype, plan.num_layers);
  const int64_t left =
      options.memory_bytes - options.reserve_bytes - plan.weight_bytes - plan.activation_bytes;
  plan.context_tokens = std::max<int64_t>(left, 0) / plan.kv_bytes_per_token;
  plan.fits = plan.context_tokens > 0;
  return plan;
}

}  // namespace

int64_t ModelSize::parameters() const {
  return vision.parameters() + vision_unused.parameters() + projector.parameters() +
         embeddings.parameters() + attention.parameters() + dense_mlp.parameters() +
         routed_experts.parameters() + shared_experts.parameters() + router.parameters() +
         norms.parameters() + lm_head.parameters();
}

ModelSize CountParameters(const ModelConfig& config) {
  const LanguageConfig& language = config.language;
  ModelSize size;
  size.vision = VisionSize(config.vision);
  size.vision_unused = AttentionPoolSize(config.vision);
  size.projector = ProjectorSize(config.projector);
  size.embeddings.matrix = language.vocab_size * language.hidden_size;
  if (!language.tie_word_embeddings) size.lm_head = size.embeddings;
  for (int64_t layer = 0; layer < language.num_hidden_layers; ++layer)
    AddLayer(language, layer, &size);
  size.norms.vector += language.hidden_size;
  return size;
}

int64_t CheckpointBytes(const ModelConfig& config, kernels::DType dtype) {
  return CountParameters(config).parameters() * kernels::SizeOf(dtype);
}

int64_t ResidentWeightBytes(const ModelConfig& config, kernels::DType dtype) {
  const ModelSize size = CountParameters(config);
  int64_t bytes = Resident(size.vision, dtype) + Resident(size.projector, dtype) +
                  2 * Resident(size.embeddings, dtype);
  bytes += config.language.hidden_size * kFloatBytes;  // the final norm
  for (int64_t layer = 0; layer < config.language.num_hidden_layers; ++layer) {
    bytes += LayerBytes(config.language, layer, 1, dtype);
  }
  return bytes;
}

int64_t KvBytesPerToken(const LanguageConfig& config, kernels::DType kv_dtype, int64_t num_layers) {
  const int64_t elements = config.use_mla ? config.kv_lora_rank + config.qk_rope_head_dim
                                          : 2 * config.num_key_value_heads * config.head_dim();
  return elements * num_layers * kernels::SizeOf(kv_dtype);
}

int64_t LanguageActivationBytes(const LanguageConfig& config, int64_t chunk_tokens) {
  const int64_t hidden = config.hidden_size;
  const int64_t heads = config.num_attention_heads;
  int64_t row = 3 * hidden;  // residual stream, its norm, a branch
  if (config.use_mla) {
    const int64_t query = heads * (config.qk_nope_head_dim + config.qk_rope_head_dim);
    row += config.q_lora_rank.value_or(query) + config.kv_lora_rank + config.qk_rope_head_dim;
    if (config.q_lora_rank.has_value()) row += query;
    row += 2 * heads * config.kv_lora_rank + heads * config.v_head_dim;
  } else {
    row += (2 * heads + 2 * config.num_key_value_heads) * config.head_dim();
  }
  int64_t mlp_width = 0;  // of the widest MLP that all rows pass through
  bool any_moe = false;
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    any_moe = any_moe || config.IsMoeLayer(layer);
    if (!config.IsMoeLayer(layer)) mlp_width = std::max(mlp_width, config.intermediate_size);
  }
  int64_t bytes = 0;
  if (any_moe) {
    const int64_t shared_width = config.moe_intermediate_size * config.n_shared_experts.value_or(0);
    const int64_t slice = std::min(chunk_tokens, kMoeRowsPerSlice);
    mlp_width = std::max(mlp_width, shared_width);
    row += *config.n_routed_experts + 2 * config.num_experts_per_tok;
    bytes += slice * config.num_experts_per_tok * (3 * config.moe_intermediate_size + hidden) *
             kFloatBytes;
    if (shared_width > 0) bytes += slice * hidden * kFloatBytes;
  }
  return bytes + chunk_tokens * (row + 3 * mlp_width) * kFloatBytes;
}

int64_t VisionActivationBytes(const ModelConfig& config, int64_t max_tiles) {
  const VisionConfig& vision = config.vision;
  const ProjectorConfig& projector = config.projector;
  const int64_t slice_rows = std::min(max_tiles, kTilesPerSlice) * vision.patches();
  const int64_t wide =
      std::max({3 * vision.width, vision.mlp_width(), 3 * vision.patch_size * vision.patch_size});
  const int64_t ratio = projector.downsample_ratio;
  const int64_t side = (vision.grid() + ratio - 1) / ratio;
  const int64_t widest =
      std::max(projector.input_dim * ratio * ratio, projector.n_embed * projector.mlp_ratio);
  return (max_tiles * vision.patches() * vision.width + slice_rows * (3 * vision.width + wide) +
          max_tiles * side * side * (widest + projector.n_embed * projector.mlp_ratio)) *
         kFloatBytes;
}

absl::StatusOr<TopologyPlan> PlanTopology(const ModelConfig& config, const Topology& topology,
                                          const PlanOptions& options) {
  TESSERA_RETURN_IF_ERROR(CheckPlan(config, topology, options));
  TESSERA_ASSIGN_OR_RETURN(const std::vector<LayerRange> ranges,
                           SplitLayers(config, topology.stages));
  TopologyPlan plan;
  plan.fits = true;
  for (const LayerRange& range : ranges) {
    plan.stages.push_back(PlanStage(config, topology, options, range));
    const StagePlan& last = plan.stages.back();
    plan.fits = plan.fits && last.fits;
    plan.context_tokens_per_rank =
        range.first == 0 ? last.context_tokens
                         : std::min(plan.context_tokens_per_rank, last.context_tokens);
  }
  plan.context_tokens_total = plan.context_tokens_per_rank * topology.expert_ranks;
  return plan;
}

}  // namespace tessera::model
