#include "router/route_service.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>

#include "router/policy/route.h"
#include "router/wire.h"
#include "services/base/status_macros.h"
#include "services/rpc/grpc_status.h"
#include "services/rpc/status_details.h"
#include "services/telemetry/metrics.h"
#include "tessera/v1/router.grpc.pb.h"

namespace tessera::router {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

constexpr absl::Duration kFullRetryDelay = absl::Seconds(1);

ServerUnaryReactor* Answer(CallbackServerContext* context, const absl::Status& status) {
  ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(rpc::ToGrpcStatus(status));
  return reactor;
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

// Full queues empty again; a request that no KV can hold is refused for good, so without a delay.
absl::Status RouteError(const absl::Status& status) {
  if (absl::IsResourceExhausted(status)) {
    return rpc::WithRetryDelay(status, kFullRetryDelay);
  }
  return absl::IsOutOfRange(status) ? absl::ResourceExhaustedError(status.message()) : status;
}

// The prompt's last token is always computed: its row gives the first token of the answer.
int64_t ExpectedCachedTokens(const RequestShape& shape, const WorkerView& prefill) {
  const int64_t block_size = prefill.description.kv_block_size_tokens;
  if (block_size < 1) {
    return 0;
  }
  return std::min(prefill.known_prefix_tokens, (shape.prompt_tokens - 1) / block_size * block_size);
}

// Of the workers of the revision; 0: there is none, or they differ.
int32_t CommonBlockSize(const RequestShape& shape, const ClusterSnapshot& snapshot) {
  int64_t common = 0;
  for (const WorkerView& worker : snapshot.workers) {
    if (worker.description.model_revision != shape.model_revision) {
      continue;
    }
    const int64_t block_size = worker.description.kv_block_size_tokens;
    if (common != 0 && block_size != common) {
      return 0;
    }
    common = block_size;
  }
  return static_cast<int32_t>(common);
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
        registry_.Heartbeat(WorkerId(request->worker_id()), FromProto(*request));
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
      *response->add_workers() = ToProto(worker);
    }
    return Answer(context, absl::OkStatus());
  }

 private:
  absl::Status DoRegister(const v1::RegisterRequest& request, v1::RegisterResponse& response) {
    TESSERA_ASSIGN_OR_RETURN(const WorkerDescription description, FromProto(request));
    TESSERA_ASSIGN_OR_RETURN(
        const uint64_t epoch,
        registry_.Register(description, FromProto(request.load()), FromProto(request.place())));
    response.set_epoch(epoch);
    response.set_lease_ms(absl::ToInt64Milliseconds(options_.lease));
    response.set_heartbeat_interval_ms(absl::ToInt64Milliseconds(options_.heartbeat_interval));
    return absl::OkStatus();
  }

  absl::Status DoPlace(const v1::PlaceRequest& request, v1::PlaceResponse& response) {
    TESSERA_ASSIGN_OR_RETURN(const RequestShape shape, FromProto(request));
    const ClusterSnapshot snapshot =
        registry_.Snapshot(request.block_hashes(), request.block_hash_size_tokens());
    const absl::StatusOr<Route> route = ChooseRoute(shape, snapshot, options_.policy,
                                                    turn_.fetch_add(1, std::memory_order_relaxed));
    if (!route.ok()) {
      return RouteError(route.status());
    }
    const int64_t known = ExpectedCachedTokens(shape, *route->prefill);
    ReserveOn(*route, shape, known);
    *response.mutable_prefill() = ToPlacement(route->prefill->description);
    *response.mutable_decode() = ToPlacement(route->decode->description);
    response.set_epoch(snapshot.epoch);
    response.set_lease_ms(absl::ToInt64Milliseconds(options_.lease));
    response.set_kv_block_size_tokens(CommonBlockSize(shape, snapshot));
    response.set_expected_cached_tokens(static_cast<int32_t>(known));
    return absl::OkStatus();
  }

  void ReserveOn(const Route& route, const RequestShape& shape, int64_t known) {
    const int64_t prompt = shape.prompt_tokens - known;
    if (route.prefill == route.decode) {
      registry_.Reserve(route.prefill->description.id, prompt + shape.max_new_tokens);
      return;
    }
    registry_.Reserve(route.prefill->description.id, prompt);
    registry_.Reserve(route.decode->description.id, shape.max_new_tokens);
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
