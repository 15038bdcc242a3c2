#include "worker/service/worker_setup.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "services/base/status_macros.h"
#include "worker/model/layer_split.h"
#include "worker/service/model_revision.h"

namespace tessera::worker {
namespace {

std::string ModelName(const config::ModelSettings& settings) {
  if (!settings.name.empty()) return settings.name;
  std::string path = settings.path;
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path.substr(path.rfind('/') + 1);
}

// The host of host:port, as other hosts reach it; empty: only this one does.
std::string ReachableHost(const std::string& address) {
  std::string host = address.substr(0, address.rfind(':'));
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  const bool loopback = host == "localhost" || host == "::1" || host.rfind("127.", 0) == 0;
  return loopback ? "" : host;
}

}  // namespace

absl::StatusOr<const kernels::KernelTable*> FindKernels(const std::string& cpu_isa) {
  const kernels::KernelTable* table = kernels::KernelsByName(cpu_isa);
  if (table != nullptr) return table;
  return absl::InvalidArgumentError(
      absl::StrCat("worker.cpu_isa is \"", cpu_isa, "\", this machine runs: auto, ",
                   absl::StrJoin(kernels::RunnableKernelNames(), ", ")));
}

absl::StatusOr<WorkerIdentity> Identify(const config::ClusterConfig& config,
                                        const kernels::KernelTable& table) {
  TESSERA_ASSIGN_OR_RETURN(const Digest digest, ModelRevision(config.model.path));
  WorkerIdentity identity;
  identity.model_name = ModelName(config.model);
  identity.model_revision = HexString(digest);
  identity.numerics = absl::StrCat(config.worker.compute, "/", table.name);
  identity.started_at_ms = absl::ToUnixMillis(absl::Now());
  return identity;
}

engine::EngineOptions ToEngineOptions(const config::WorkerSettings& settings) {
  engine::EngineOptions options;
  options.kv_block_size_tokens = settings.kv_block_size_tokens;
  options.kv_cache_bytes = settings.kv_cache_bytes;
  options.embedding_cache_bytes = settings.embedding_cache_bytes;
  options.max_batch_sequences = settings.max_batch_sequences;
  options.max_step_tokens = settings.max_step_tokens;
  options.prefill_chunk_tokens = settings.prefill_chunk_tokens;
  options.max_queued_requests = settings.max_queued_requests;
  options.prefix_caching = settings.prefix_caching;
  options.hand_back_preempted = settings.role == "decode";
  options.no_progress_timeout = settings.no_progress_timeout;
  return options;
}

group::StepOptions ToStepOptions(const config::WorkerSettings& settings) {
  group::StepOptions options;
  options.step_timeout = settings.step_timeout;
  options.micro_batches = settings.micro_batches;
  return options;
}

WorkerDescription Describe(const config::WorkerSettings& settings, const WorkerIdentity& identity,
                           const model::ModelConfig& model) {
  WorkerDescription description;
  description.model_revision = identity.model_revision;
  description.model_name = identity.model_name;
  description.context_tokens = model.language.max_position_embeddings;
  description.kv_block_size_tokens = settings.kv_block_size_tokens;
  description.max_queued_requests = settings.max_queued_requests;
  description.numerics = identity.numerics;
  description.role = settings.role;
  description.started_at_ms = identity.started_at_ms;
  description.seat = {settings.group.name, settings.group.stages, settings.group.expert_ranks,
                      settings.group.stage, settings.group.expert_rank};
  return description;
}

KvTerms TermsOf(const WorkerIdentity& identity, const model::ModelConfig& model,
                const model::KvLayout& layout) {
  return {identity.model_revision, identity.numerics, layout.dtype, layout.row_elements,
          model.language.num_hidden_layers};
}

absl::StatusOr<model::ShardSpec> ShardOf(const model::ModelConfig& model,
                                         const config::GroupSettings& group) {
  TESSERA_ASSIGN_OR_RETURN(const std::vector<model::LayerRange> ranges,
                           model::SplitLayers(model, group.stages));
  const model::LayerRange& range = ranges[static_cast<size_t>(group.stage)];
  model::ShardSpec spec;
  spec.first_layer = range.first;
  spec.num_layers = range.num;
  spec.holds_ends = group.stage == 0;
  if (group.expert_ranks == 1) return spec;
  const group::ExpertPlacement even =
      group::EvenPlacement(ExpertsOfLayers(model, spec), group.expert_ranks);
  for (const auto& layer : even.holders) {
    if (layer.empty()) continue;
    for (size_t expert = 0; expert < layer.size(); ++expert) {
      if (layer[expert].front() == group.expert_rank) {
        spec.experts.push_back(static_cast<int32_t>(expert));
      }
    }
    break;  // the same in each MoE layer
  }
  return spec;
}

std::vector<int64_t> ExpertsOfLayers(const model::ModelConfig& model,
                                     const model::ShardSpec& shard) {
  std::vector<int64_t> experts;
  for (int64_t layer = shard.first_layer; layer < shard.first_layer + shard.num_layers; ++layer) {
    experts.push_back(model.language.IsMoeLayer(layer) ? *model.language.n_routed_experts : 0);
  }
  return experts;
}

absl::StatusOr<int64_t> GroupKvBlocks(const config::WorkerSettings& settings,
                                      const model::ModelConfig& model,
                                      const model::KvLayout& layout) {
  const int64_t block_bytes =
      model.language.num_hidden_layers * layout.BlockBytes(settings.kv_block_size_tokens);
  const int64_t blocks = settings.kv_cache_bytes / block_bytes;
  if (blocks >= 1) return blocks;
  return absl::InvalidArgumentError(
      absl::StrCat("worker.kv_cache_bytes is ", settings.kv_cache_bytes,
                   ", must be at least one block of all layers: ", block_bytes));
}

GroupSessionOptions ToSessionOptions(const config::WorkerSettings& settings,
                                     const WorkerIdentity& identity,
                                     const model::ModelConfig& model, const model::ShardSpec& shard,
                                     const std::string& address, const std::string& id) {
  GroupSessionOptions options;
  options.router_address = settings.router_address;
  options.self.set_worker_id(id);
  options.self.set_group(settings.group.name);
  options.self.set_stages(static_cast<int32_t>(settings.group.stages));
  options.self.set_expert_ranks(static_cast<int32_t>(settings.group.expert_ranks));
  options.self.set_stage(static_cast<int32_t>(settings.group.stage));
  options.self.set_expert_rank(static_cast<int32_t>(settings.group.expert_rank));
  options.self.set_address(address);
  options.self.set_started_at_ms(identity.started_at_ms);
  options.self.set_model_revision(identity.model_revision);
  options.self.set_numerics(identity.numerics);
  options.self.set_transport(settings.transport);
  options.first_layer = shard.first_layer;
  options.experts_of_layer = ExpertsOfLayers(model, shard);
  options.bind_host = ReachableHost(address);
  return options;
}

}  // namespace tessera::worker
