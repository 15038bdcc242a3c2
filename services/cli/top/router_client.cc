#include "services/cli/top/router_client.h"

#include "absl/status/status.h"
#include "grpcpp/grpcpp.h"
#include "tessera/v1/router.grpc.pb.h"

namespace tessera::cli {
namespace {

constexpr int kFirstBackoffMs = 100;
constexpr int kLongestBackoffMs = 1000;

class GrpcRouterClient : public RouterClient {
 public:
  explicit GrpcRouterClient(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(v1::RouterService::NewStub(channel)) {}

  absl::StatusOr<v1::Cluster> GetCluster(absl::Time deadline) override {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(deadline));
    v1::Cluster cluster;
    const grpc::Status status = stub_->GetCluster(&context, v1::GetClusterRequest(), &cluster);
    if (!status.ok()) {
      return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                          status.error_message());
    }
    return cluster;
  }

 private:
  const std::unique_ptr<v1::RouterService::Stub> stub_;
};

}  // namespace

std::unique_ptr<RouterClient> RouterClient::Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kFirstBackoffMs);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kFirstBackoffMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kLongestBackoffMs);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY,
                   0);  // a cluster is not reached through the web's proxy
  return std::make_unique<GrpcRouterClient>(
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
}

}  // namespace tessera::cli
