// From configuration to what the parts of a worker are made from. Pure functions, except where
// said.
#ifndef TESSERA_WORKER_SERVICE_WORKER_SETUP_H_
#define TESSERA_WORKER_SERVICE_WORKER_SETUP_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/kernels.h"
#include "services/config/config.h"
#include "worker/engine/engine.h"
#include "worker/group/group_model.h"
#include "worker/model/model_shard.h"
#include "worker/service/group_session.h"
#include "worker/service/kv_terms.h"
#include "worker/service/registration.h"

namespace tessera::worker {

// What a worker is apart from its model, worked out once.
struct WorkerIdentity {
  std::string model_name;
  std::string model_revision;  // hexadecimal
  std::string numerics;
  int64_t started_at_ms = 0;
};

// INVALID_ARGUMENT names worker.cpu_isa.
absl::StatusOr<const kernels::KernelTable*> FindKernels(const std::string& cpu_isa);
// Reads the model's folder and the clock.
absl::StatusOr<WorkerIdentity> Identify(const config::ClusterConfig& config,
                                        const kernels::KernelTable& table);

engine::EngineOptions ToEngineOptions(const config::WorkerSettings& settings);
group::StepOptions ToStepOptions(const config::WorkerSettings& settings);
// All but the address and the id, which come with the listener.
WorkerDescription Describe(const config::WorkerSettings& settings, const WorkerIdentity& identity,
                           const model::ModelConfig& model);
KvTerms TermsOf(const WorkerIdentity& identity, const model::ModelConfig& model,
                const model::KvLayout& layout);

// The part of the model that a rank loads: its stage's layers, of the experts those that it holds
// when the group is whole. INVALID_ARGUMENT: more stages than layers.
absl::StatusOr<model::ShardSpec> ShardOf(const model::ModelConfig& model,
                                         const config::GroupSettings& group);
// Routed experts of each layer of a shard; 0: dense.
std::vector<int64_t> ExpertsOfLayers(const model::ModelConfig& model,
                                     const model::ShardSpec& shard);
// KV blocks of a rank of a group. All ranks of a column name blocks alike, whatever their layers
// are, so each has as many as fit the budget with all layers of the model. INVALID_ARGUMENT: none.
absl::StatusOr<int64_t> GroupKvBlocks(const config::WorkerSettings& settings,
                                      const model::ModelConfig& model,
                                      const model::KvLayout& layout);
// address, id: as registered.
GroupSessionOptions ToSessionOptions(const config::WorkerSettings& settings,
                                     const WorkerIdentity& identity,
                                     const model::ModelConfig& model, const model::ShardSpec& shard,
                                     const std::string& address, const std::string& id);

}  // namespace tessera::worker

#endif  // TESSERA_WORKER_SERVICE_WORKER_SETUP_H_
