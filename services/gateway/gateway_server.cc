#include "services/gateway/gateway_server.h"

#include <grpcpp/impl/service_type.h>

#include <thread>
#include <utility>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"
#include "services/gateway/api/inference_service.h"
#include "services/gateway/model_info.h"
#include "services/gateway/readiness.h"
#include "services/rpc/server.h"
#include "tessera/v1/router.pb.h"

namespace tessera::gateway {
namespace {

constexpr absl::Duration kReadinessInterval = absl::Milliseconds(500);
constexpr absl::Duration kDrainPoll = absl::Milliseconds(20);
constexpr absl::Duration kCancelGrace = absl::Seconds(1);

PreparerLimits LimitsFrom(const config::GatewaySettings& settings) {
  PreparerLimits limits;
  limits.max_images = settings.max_images;
  limits.max_request_pixels = settings.max_request_pixels;
  limits.image.max_bytes = settings.max_image_bytes;
  limits.image.max_side_pixels = settings.max_image_side_pixels;
  limits.image.max_pixels = settings.max_image_pixels;
  return limits;
}

class Server final : public GatewayServer {
 public:
  Server(const config::GatewaySettings& settings, DispatchOptions dispatch,
         std::unique_ptr<prompt::PromptProcessor> processor, const ModelInfo& info)
      : processor_(std::move(processor)),
        preparer_(*processor_, LimitsFrom(settings)),
        model_{info.name, info.revision, info.vocabulary_size, info.context_tokens},
        admission_(settings.max_concurrent_requests,
                   metrics_.Get(telemetry::GaugeId::kRequestsRunning)),
        dispatcher_(std::move(dispatch), &metrics_),
        pool_(settings.preprocessing_threads, settings.max_concurrent_requests,
              metrics_.Get(telemetry::GaugeId::kRequestsWaiting)),
        service_(MakeInferenceService({preparer_, model_, admission_, pool_, dispatcher_, metrics_,
                                       settings.default_deadline})) {}

  ~Server() override {
    Drain(absl::Now(), [] { return true; });
  }

  absl::Status Listen(const config::GatewaySettings& settings) {
    if (!settings.metrics_listen.empty()) {
      TESSERA_ASSIGN_OR_RETURN(metrics_address_, metrics_.Listen(settings.metrics_listen));
    }
    rpc::ServerOptions options;
    options.listen = settings.listen;
    options.health_services = {"tessera.v1.InferenceService"};
    options.reflection = settings.reflection;
    options.max_message_bytes = settings.max_message_bytes;
    options.serving_at_start = false;
    TESSERA_ASSIGN_OR_RETURN(server_, rpc::Server::Start(options, {service_.get()}));
    readiness_ = std::thread([this] { WatchCluster(); });
    return absl::OkStatus();
  }

  const std::string& address() const override { return server_->address(); }
  const std::string& metrics_address() const override { return metrics_address_; }
  int64_t in_flight() const override { return admission_.in_flight(); }
  int64_t active_sequences() const override { return dispatcher_.active(); }

  void Drain(absl::Time deadline, const std::function<bool()>& hurry) override {
    if (stopping_.HasBeenNotified()) return;
    stopping_.Notify();
    if (readiness_.joinable()) readiness_.join();
    admission_.Close();
    if (server_ == nullptr) return;
    server_->SetServing(false);
    while (admission_.in_flight() > 0 && absl::Now() < deadline && !hurry())
      absl::SleepFor(kDrainPoll);
    server_->Drain(absl::Now());
    // Cancelled sequences end with a message to their workers; what they share must outlive that.
    const absl::Time give_up = absl::Now() + kCancelGrace;
    while (dispatcher_.active() > 0 && absl::Now() < give_up) absl::SleepFor(kDrainPoll);
  }

 private:
  bool ClusterCanServe() {
    const auto cluster = dispatcher_.GetCluster();
    return cluster.ok() && CanServe(**cluster, model_.revision);
  }

  void WatchCluster() {
    bool serving = false;
    while (!stopping_.HasBeenNotified()) {
      const bool can_serve = ClusterCanServe();
      if (can_serve != serving) {
        serving = can_serve;
        server_->SetServing(serving);
        TESSERA_LOG(kInfo)
            << (serving ? "serving"
                        : "not serving: no worker of the model's revision takes requests");
      }
      stopping_.WaitForNotificationWithTimeout(kReadinessInterval);
    }
  }

  // In the order of use: what stands later may use what stands before.
  telemetry::Metrics metrics_{telemetry::Component::kGateway};
  const std::unique_ptr<prompt::PromptProcessor> processor_;
  const RequestPreparer preparer_;
  const ModelDescription model_;
  Admission admission_;
  Dispatcher dispatcher_;
  PreprocessingPool pool_;
  const std::unique_ptr<grpc::Service> service_;
  std::string metrics_address_;
  std::unique_ptr<rpc::Server> server_;
  absl::Notification stopping_;
  std::thread readiness_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<GatewayServer>> GatewayServer::Start(
    const config::ClusterConfig& config, DispatchOptions dispatch) {
  const config::GatewaySettings& settings = config.gateway;
  if (settings.router_address.empty())
    return absl::InvalidArgumentError("gateway.router_address: is not set");
  if (config.model.path.empty()) return absl::InvalidArgumentError("model.path: is not set");
  TESSERA_ASSIGN_OR_RETURN(std::unique_ptr<prompt::PromptProcessor> processor,
                           prompt::PromptProcessor::Load(config.model.path));
  TESSERA_ASSIGN_OR_RETURN(ModelInfo info, ReadModelInfo(config.model.path, config.model.name));
  if (processor->tokenizer().size() > info.vocabulary_size) {
    return absl::InvalidArgumentError(
        absl::StrCat("tokenizer.json has ids up to ", processor->tokenizer().size() - 1,
                     ", but config.json says vocab_size ", info.vocabulary_size,
                     ": the tokenizer belongs to another model"));
  }
  info.revision = HexString(processor->model_revision());
  dispatch.router_address = settings.router_address;
  dispatch.max_attempts = settings.max_attempts;
  dispatch.router_timeout = settings.router_timeout;
  auto server = std::make_unique<Server>(settings, std::move(dispatch), std::move(processor), info);
  TESSERA_RETURN_IF_ERROR(server->Listen(settings));
  return server;
}

}  // namespace tessera::gateway
