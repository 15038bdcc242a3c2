#include "router/wire.h"

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"

namespace tessera::router {
namespace {

constexpr int kMaxBlockHashes = 65'536;
constexpr int kMaxPriority = 100;

v1::WorkerLoad ToProto(const WorkerLoad& load) {
  v1::WorkerLoad proto;
  proto.set_running_requests(static_cast<int32_t>(load.running_requests));
  proto.set_queued_requests(static_cast<int32_t>(load.queued_requests));
  proto.set_max_queued_requests(static_cast<int32_t>(load.max_queued_requests));
  proto.set_outstanding_tokens(load.outstanding_tokens);
  proto.set_kv_blocks_total(load.kv_blocks_total);
  proto.set_kv_blocks_used(load.kv_blocks_used);
  proto.set_kv_blocks_cached(load.kv_blocks_cached);
  proto.set_generated_tokens(load.generated_tokens);
  proto.set_prompt_tokens(load.prompt_tokens);
  proto.set_kv_leases_reclaimed(load.kv_leases_reclaimed);
  proto.set_expert_imbalance(load.expert_imbalance);
  return proto;
}

v1::GroupPlace ToProto(const GroupPlace& place) {
  v1::GroupPlace proto;
  proto.set_group(place.group);
  proto.set_stages(static_cast<int32_t>(place.stages));
  proto.set_expert_ranks(static_cast<int32_t>(place.expert_ranks));
  proto.set_stage(static_cast<int32_t>(place.stage));
  proto.set_expert_rank(static_cast<int32_t>(place.expert_rank));
  proto.set_epoch(place.epoch);
  return proto;
}

absl::StatusOr<WorkerRole> FromProto(v1::WorkerRole role) {
  switch (role) {
    case v1::WORKER_ROLE_BOTH:
      return WorkerRole::kBoth;
    case v1::WORKER_ROLE_PREFILL:
      return WorkerRole::kPrefill;
    case v1::WORKER_ROLE_DECODE:
      return WorkerRole::kDecode;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("role: ", static_cast<int>(role), " is not a role"));
  }
}

v1::WorkerRole ToProto(WorkerRole role) {
  switch (role) {
    case WorkerRole::kBoth:
      return v1::WORKER_ROLE_BOTH;
    case WorkerRole::kPrefill:
      return v1::WORKER_ROLE_PREFILL;
    case WorkerRole::kDecode:
      return v1::WORKER_ROLE_DECODE;
  }
  return v1::WORKER_ROLE_UNSPECIFIED;
}

}  // namespace

WorkerLoad FromProto(const v1::WorkerLoad& proto) {
  WorkerLoad load;
  load.running_requests = proto.running_requests();
  load.queued_requests = proto.queued_requests();
  load.max_queued_requests = proto.max_queued_requests();
  load.outstanding_tokens = proto.outstanding_tokens();
  load.kv_blocks_total = proto.kv_blocks_total();
  load.kv_blocks_used = proto.kv_blocks_used();
  load.kv_blocks_cached = proto.kv_blocks_cached();
  load.generated_tokens = proto.generated_tokens();
  load.prompt_tokens = proto.prompt_tokens();
  load.kv_leases_reclaimed = proto.kv_leases_reclaimed();
  load.expert_imbalance = proto.expert_imbalance();
  return load;
}

GroupPlace FromProto(const v1::GroupPlace& proto) {
  GroupPlace place;
  place.group = proto.group();
  place.stages = proto.stages();
  place.expert_ranks = proto.expert_ranks();
  place.stage = proto.stage();
  place.expert_rank = proto.expert_rank();
  place.epoch = proto.epoch();
  return place;
}

HeartbeatReport FromProto(const v1::HeartbeatRequest& proto) {
  HeartbeatReport report;
  report.load = FromProto(proto.load());
  report.draining = proto.draining();
  report.started_at_ms = proto.started_at_ms();
  if (proto.has_place()) {
    report.place = FromProto(proto.place());
  }
  report.block_events.reserve(static_cast<size_t>(proto.kv_events_size()));
  for (const v1::KvBlockEvent& event : proto.kv_events()) {
    report.block_events.push_back({event.hash(), event.dropped()});
  }
  report.block_events_are_all = proto.kv_events_are_all();
  return report;
}

absl::StatusOr<WorkerDescription> FromProto(const v1::RegisterRequest& proto) {
  WorkerDescription description;
  TESSERA_ASSIGN_OR_RETURN(description.role, FromProto(proto.role()));
  description.id = WorkerId(proto.worker_id());
  description.address = proto.address();
  description.model_revision = proto.model_revision();
  description.model_name = proto.model_name();
  description.context_tokens = proto.context_tokens();
  description.kv_block_size_tokens = proto.kv_block_size_tokens();
  description.numerics = proto.numerics();
  description.started_at_ms = proto.started_at_ms();
  return description;
}

absl::StatusOr<RequestShape> FromProto(const v1::PlaceRequest& proto) {
  if (proto.prompt_tokens() < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("prompt_tokens: ", proto.prompt_tokens(), " is below 1"));
  }
  if (proto.max_new_tokens() < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_new_tokens: ", proto.max_new_tokens(), " is below 1"));
  }
  if (proto.block_hashes_size() > kMaxBlockHashes) {
    return absl::InvalidArgumentError(absl::StrCat("block_hashes: ", proto.block_hashes_size(),
                                                   " are more than ", kMaxBlockHashes));
  }
  if (proto.block_hashes_size() > 0 && proto.block_hash_size_tokens() < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("block_hash_size_tokens: ", proto.block_hash_size_tokens(), " is below 1"));
  }
  if (proto.priority() < -kMaxPriority || proto.priority() > kMaxPriority) {
    return absl::InvalidArgumentError(absl::StrCat("priority: ", proto.priority(), " is not in [",
                                                   -kMaxPriority, ", ", kMaxPriority, "]"));
  }
  RequestShape shape;
  shape.model_revision = proto.model_revision();
  shape.prompt_tokens = proto.prompt_tokens();
  shape.max_new_tokens = proto.max_new_tokens();
  shape.numerics = proto.numerics();
  for (const std::string& id : proto.excluded_worker_ids()) {
    shape.excluded_workers.emplace_back(id);
  }
  return shape;
}

v1::Placement ToPlacement(const WorkerDescription& worker) {
  v1::Placement placement;
  placement.set_worker_id(worker.id.value());
  placement.set_address(worker.address);
  placement.set_numerics(worker.numerics);
  return placement;
}

v1::ClusterWorker ToProto(const RegisteredWorker& worker) {
  const WorkerDescription& description = worker.view.description;
  v1::ClusterWorker proto;
  proto.set_worker_id(description.id.value());
  proto.set_address(description.address);
  proto.set_role(ToProto(description.role));
  proto.set_model_revision(description.model_revision);
  proto.set_model_name(description.model_name);
  proto.set_draining(worker.view.draining);
  proto.set_heartbeat_age_ms(absl::ToInt64Milliseconds(worker.heartbeat_age));
  *proto.mutable_load() = ToProto(worker.view.load);
  proto.set_numerics(description.numerics);
  *proto.mutable_place() = ToProto(worker.view.place);
  return proto;
}

}  // namespace tessera::router
