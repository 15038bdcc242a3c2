// `tessera plan`: what a model takes, and which topology leaves how much context.
#include <algorithm>
#include <cstdio>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/base/status_macros.h"
#include "services/cli/client/answer_text.h"
#include "services/cli/commands.h"
#include "services/cli/default_model.h"
#include "services/cli/flags.h"
#include "worker/model/memory_plan.h"
#include "worker/model/model_config.h"

namespace tessera::cli {
namespace {

struct PlanFlags {
  std::string model;
  int64_t memory_bytes = int64_t{40} << 30;
  int64_t reserve_bytes = int64_t{1} << 30;
  int64_t chunk_tokens = 2048;
  int64_t max_tiles = 10;
  std::string weights = "bf16";
  std::string kv = "bf16";
  std::optional<int64_t> stages;
  std::optional<int64_t> expert_ranks;
};

kernels::DType DTypeByName(const std::string& name) {
  return name == "f32" ? kernels::DType::kF32 : kernels::DType::kBF16;
}

// "2.80 B", "12.3 M"
std::string Count(int64_t parameters) {
  const double value = static_cast<double>(parameters);
  return value >= 1e9 ? absl::StrFormat("%.2f B", value / 1e9)
                      : absl::StrFormat("%.1f M", value / 1e6);
}

void PrintModel(const model::ModelConfig& config, const PlanFlags& flags) {
  const model::LanguageConfig& language = config.language;
  const model::ModelSize size = model::CountParameters(config);
  std::printf("%s\n", flags.model.c_str());
  std::printf(
      "  %s parameters: vision %s, projector %s, embeddings and head %s, attention %s, dense %s, "
      "experts %s "
      "routed and %s shared\n",
      Count(size.parameters()).c_str(), Count(size.vision.parameters()).c_str(),
      Count(size.projector.parameters()).c_str(),
      Count(size.embeddings.parameters() + size.lm_head.parameters()).c_str(),
      Count(size.attention.parameters()).c_str(), Count(size.dense_mlp.parameters()).c_str(),
      Count(size.routed_experts.parameters()).c_str(),
      Count(size.shared_experts.parameters()).c_str());
  std::printf("  %s, %d layers, %d experts; the model's own context is %d tokens\n",
              language.use_mla ? "latent attention (MLA)" : "multi-head attention",
              static_cast<int>(language.num_hidden_layers),
              static_cast<int>(language.n_routed_experts.value_or(0)),
              static_cast<int>(language.max_position_embeddings));
  std::printf("  checkpoint %s in %s; resident on one rank %s; KV %s a token (%s)\n\n",
              ReadableBytes(model::CheckpointBytes(config, DTypeByName(flags.weights))).c_str(),
              flags.weights.c_str(),
              ReadableBytes(model::ResidentWeightBytes(config, DTypeByName(flags.weights))).c_str(),
              ReadableBytes(model::KvBytesPerToken(language, DTypeByName(flags.kv),
                                                   language.num_hidden_layers))
                  .c_str(),
              flags.kv.c_str());
}

// The topologies of the table: what the flags fix, else powers of two that the model can be cut
// into, up to 8 ranks.
std::vector<model::Topology> Topologies(const model::ModelConfig& config, const PlanFlags& flags) {
  constexpr int64_t kMostRanks = 8;
  const int64_t experts = config.language.n_routed_experts.value_or(1);
  std::vector<model::Topology> topologies;
  for (int64_t stages = 1; stages <= kMostRanks; stages *= 2) {
    for (int64_t ranks = 1; stages * ranks <= kMostRanks; ranks *= 2) {
      const model::Topology topology{flags.stages.value_or(stages),
                                     flags.expert_ranks.value_or(ranks)};
      const bool known =
          std::any_of(topologies.begin(), topologies.end(), [&](const model::Topology& other) {
            return other.stages == topology.stages && other.expert_ranks == topology.expert_ranks;
          });
      const bool fixed = flags.stages.has_value() && flags.expert_ranks.has_value();
      const bool possible =
          topology.stages <= config.language.num_hidden_layers && topology.expert_ranks <= experts;
      if (!known &&
          (fixed || possible)) {  // what was asked for by name gets its error from the planner
        topologies.push_back(topology);
      }
    }
  }
  return topologies;
}

absl::Status PrintTopology(const model::ModelConfig& config, const model::Topology& topology,
                           const model::PlanOptions& options, int64_t model_context) {
  TESSERA_ASSIGN_OR_RETURN(const model::TopologyPlan plan,
                           model::PlanTopology(config, topology, options));
  int64_t weights = 0;
  int64_t activations = 0;
  int64_t kv = 0;
  for (const model::StagePlan& stage : plan.stages) {
    weights = std::max(weights, stage.weight_bytes);
    activations = std::max(activations, stage.activation_bytes);
    kv = std::max(kv, stage.kv_bytes_per_token);
  }
  std::string verdict = "does not fit";
  if (plan.fits) {
    verdict = absl::StrFormat("%d tokens on each rank, %d in all", plan.context_tokens_per_rank,
                              plan.context_tokens_total);
    if (plan.context_tokens_per_rank < model_context) {
      absl::StrAppend(&verdict, " (below one full context)");
    }
  }
  std::printf("%6d  %12d  %5d  %12s  %12s  %12s  %s\n", static_cast<int>(topology.stages),
              static_cast<int>(topology.expert_ranks),
              static_cast<int>(topology.stages * topology.expert_ranks),
              ReadableBytes(weights).c_str(), ReadableBytes(activations).c_str(),
              ReadableBytes(kv).c_str(), verdict.c_str());
  return absl::OkStatus();
}

absl::Status Plan(PlanFlags flags) {
  if (flags.model.empty()) {
    TESSERA_ASSIGN_OR_RETURN(flags.model, FindDefaultModel());
  }
  TESSERA_ASSIGN_OR_RETURN(const model::ModelConfig config, model::ReadModelConfig(flags.model));
  model::PlanOptions options;
  options.weight_dtype = DTypeByName(flags.weights);
  options.kv_dtype = DTypeByName(flags.kv);
  options.memory_bytes = flags.memory_bytes;
  options.reserve_bytes = flags.reserve_bytes;
  options.chunk_tokens = flags.chunk_tokens;
  options.max_tiles = flags.max_tiles;
  PrintModel(config, flags);
  std::printf(
      "Each rank has %s, of which %s are left to the runtime. Figures are of the fullest rank; "
      "chunk %d tokens, pictures up to %d tiles.\n\n",
      ReadableBytes(flags.memory_bytes).c_str(), ReadableBytes(flags.reserve_bytes).c_str(),
      static_cast<int>(flags.chunk_tokens), static_cast<int>(flags.max_tiles));
  std::printf("%6s  %12s  %5s  %12s  %12s  %12s  %s\n", "stages", "expert ranks", "ranks",
              "weights", "activations", "KV a token", "room for context");
  for (const model::Topology& topology : Topologies(config, flags)) {
    TESSERA_RETURN_IF_ERROR(
        PrintTopology(config, topology, options, config.language.max_position_embeddings));
  }
  return absl::OkStatus();
}

}  // namespace

int RunPlanCommand(const Arguments& arguments) {
  Flags flags("plan",
              "Prints from a model's config.json alone how much memory it takes, and for "
              "topologies of stages (layers split) and expert ranks "
              "(experts split) what a rank holds and how much context it leaves.");
  PlanFlags plan;
  flags.Text(
      "--model", &plan.model,
      "folder with config.json; without it $TESSERA_MODEL, or the model that ships with Tessera",
      "DIR");
  flags.Bytes("--gpu-memory,--memory", &plan.memory_bytes, "of one rank's device");
  flags.Bytes("--reserve", &plan.reserve_bytes, "left to the runtime and the libraries");
  flags.Integer("--stages", &plan.stages, "only topologies with so many stages");
  flags.Integer("--expert-ranks", &plan.expert_ranks, "only topologies with so many expert ranks");
  flags.OneOf("--weights", &plan.weights, {"bf16", "f32"}, "dtype of the weights");
  flags.OneOf("--kv", &plan.kv, {"bf16", "f32"}, "dtype of the KV cache");
  flags.Integer("--chunk-tokens", &plan.chunk_tokens,
                "rows of the largest step: incremental prefill keeps memory down");
  flags.Integer("--max-tiles", &plan.max_tiles, "of the largest picture, the global view included");
  if (const auto exit_code = flags.Parse(arguments); exit_code.has_value()) {
    return *exit_code;
  }
  const absl::Status status = Plan(plan);
  if (!status.ok()) {
    std::fputs(ErrorText("plan", status).c_str(), stderr);
    return kExitFailure;
  }
  return kExitOk;
}

}  // namespace tessera::cli
