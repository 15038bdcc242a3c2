#include "router/route_service.h"

#include <grpcpp/grpcpp.h>

#include <atomic>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/rpc/grpc_status.h"
#include "services/rpc/status_details.h"
#include "services/telemetry/metrics.h"
#include "tessera/v1/router.grpc.pb.h"

namespace tessera::router {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

ServerUnaryReactor* Answer(CallbackServerContext* context, const absl::Status& status) {
  ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(rpc::ToGrpcStatus(status));
  return reactor;
}

WorkerLoad FromProto(const v1::WorkerLoad& proto) {
  WorkerLoad load;
  load.running_requests = proto.running_requests();
  load.queued_requests = proto.queued_requests();
  load.max_queued_requests = proto.max_queued_requests();
  load.outstanding_tokens = proto.outstanding_tokens();
  load.kv_blocks_total = proto.kv_blocks_total();
  load.kv_blocks_used = proto.kv_blocks_used();
  return load;
}

v1::WorkerLoad ToProto(const WorkerLoad& load) {
  v1::WorkerLoad proto;
  proto.set_running_requests(static_cast<int32_t>(load.running_requests));
  proto.set_queued_requests(static_cast<int32_t>(load.queued_requests));
  proto.set_max_queued_requests(static_cast<int32_t>(load.max_queued_requests));
  proto.set_outstanding_tokens(load.outstanding_tokens);
  proto.set_kv_blocks_total(load.kv_blocks_total);
  proto.set_kv_blocks_used(load.kv_blocks_used);
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

const char* ResultLabel(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return "ok";
    case absl::StatusCode::kResourceExhausted:
      return "full";
    case absl::StatusCode::kInvalidArgument:
      return "invalid";
    default:
      return "no_worker";
  }
}

class RouteService final : public v1::RouterService::CallbackService {
 public:
  RouteService(WorkerRegistry& registry, const RouteServiceOptions& options,
               telemetry::Metrics& metrics)
      : registry_(registry), options_(options), metrics_(metrics) {}

  ServerUnaryReactor* Register(CallbackServerContext* context, const v1::RegisterRequest* request,
                               v1::RegisterResponse* response) override {
    return Answer(context, DoRegister(*request, *response));
  }

  ServerUnaryReactor* Heartbeat(CallbackServerContext* context, const v1::HeartbeatRequest* request,
                                v1::HeartbeatResponse* response) override {
    const absl::StatusOr<uint64_t> epoch =
        registry_.Heartbeat(WorkerId(request->worker_id()), FromProto(request->load()),
                            request->draining(), request->started_at_ms());
    if (epoch.ok()) {
      response->set_epoch(*epoch);
    }
    return Answer(context, epoch.status());
  }

  ServerUnaryReactor* Deregister(CallbackServerContext* context,
                                 const v1::DeregisterRequest* request,
                                 v1::DeregisterResponse*) override {
    registry_.Deregister(WorkerId(request->worker_id()), request->started_at_ms());
    return Answer(context, absl::OkStatus());
  }

  ServerUnaryReactor* Place(CallbackServerContext* context, const v1::PlaceRequest* request,
                            v1::PlaceResponse* response) override {
    const absl::Status status = DoPlace(*request, *response);
    metrics_.Get(telemetry::CounterId::kPlacements, ResultLabel(status)).Add();
    // The reason tells gateways that the router itself speaks: a transport's error text may hold
    // addresses and must not reach clients.
    return Answer(context, status.ok() ? status : rpc::WithReason(status, "NOT_PLACED"));
  }

  ServerUnaryReactor* GetCluster(CallbackServerContext* context, const v1::GetClusterRequest*,
                                 v1::Cluster* response) override {
    response->set_epoch(registry_.epoch());
    for (const RegisteredWorker& worker : registry_.Workers()) {
      const WorkerDescription& description = worker.view.description;
      v1::ClusterWorker& proto = *response->add_workers();
      proto.set_worker_id(description.id.value());
      proto.set_address(description.address);
      proto.set_role(ToProto(description.role));
      proto.set_model_revision(description.model_revision);
      proto.set_model_name(description.model_name);
      proto.set_draining(worker.view.draining);
      proto.set_heartbeat_age_ms(absl::ToInt64Milliseconds(worker.heartbeat_age));
      *proto.mutable_load() = ToProto(worker.view.load);
      proto.set_numerics(description.numerics);
    }
    return Answer(context, absl::OkStatus());
  }

 private:
  absl::Status DoRegister(const v1::RegisterRequest& request, v1::RegisterResponse& response) {
    TESSERA_ASSIGN_OR_RETURN(const WorkerDescription description, FromProto(request));
    TESSERA_ASSIGN_OR_RETURN(const uint64_t epoch,
                             registry_.Register(description, FromProto(request.load())));
    response.set_epoch(epoch);
    response.set_lease_ms(absl::ToInt64Milliseconds(options_.lease));
    response.set_heartbeat_interval_ms(absl::ToInt64Milliseconds(options_.heartbeat_interval));
    return absl::OkStatus();
  }

  absl::Status DoPlace(const v1::PlaceRequest& request, v1::PlaceResponse& response) {
    TESSERA_ASSIGN_OR_RETURN(const RequestShape shape, FromProto(request));
    const ClusterSnapshot snapshot = registry_.Snapshot();
    TESSERA_ASSIGN_OR_RETURN(const std::vector<const WorkerView*> eligible,
                             EligibleWorkers(shape, snapshot));
    const WorkerView* worker =
        options_.policy(shape, eligible, turn_.fetch_add(1, std::memory_order_relaxed));
    registry_.Reserve(worker->description.id, shape.tokens());
    *response.mutable_prefill() = ToPlacement(worker->description);
    *response.mutable_decode() = ToPlacement(worker->description);
    response.set_epoch(snapshot.epoch);
    response.set_lease_ms(absl::ToInt64Milliseconds(options_.lease));
    return absl::OkStatus();
  }

  WorkerRegistry& registry_;
  const RouteServiceOptions options_;
  telemetry::Metrics& metrics_;
  std::atomic<uint64_t> turn_{0};
};

}  // namespace

std::unique_ptr<grpc::Service> MakeRouteService(WorkerRegistry& registry,
                                                const RouteServiceOptions& options,
                                                telemetry::Metrics& metrics) {
  return std::make_unique<RouteService>(registry, options, metrics);
}

}  // namespace tessera::router
