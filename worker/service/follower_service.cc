#include "worker/service/follower_service.h"

#include "services/rpc/channel.h"
#include "services/rpc/grpc_status.h"
#include "tessera/v1/worker.grpc.pb.h"
#include "worker/service/handoff.h"

namespace tessera::worker {
namespace {

absl::Status NotALead() {
  return absl::FailedPreconditionError("this rank is of a later stage and takes no requests");
}

class Refusal final : public grpc::ServerWriteReactor<v1::DecodeResponse> {
 public:
  Refusal() { Finish(rpc::ToGrpcStatus(NotALead())); }
  void OnDone() override { delete this; }
};

class Service final : public v1::WorkerService::CallbackService {
 public:
  Service(group::GroupFollower& follower, int64_t first_layer)
      : follower_(follower), first_layer_(first_layer) {}

  grpc::ServerWriteReactor<v1::DecodeResponse>* Decode(grpc::CallbackServerContext*,
                                                       const v1::DecodeRequest*) override {
    return new Refusal();
  }
  grpc::ServerUnaryReactor* Prefill(grpc::CallbackServerContext* context, const v1::PrefillRequest*,
                                    v1::PrefillResponse*) override {
    return EndUnary(*context, NotALead());
  }
  grpc::ServerUnaryReactor* OpenHandoff(grpc::CallbackServerContext* context,
                                        const v1::OpenHandoffRequest*,
                                        v1::OpenHandoffResponse*) override {
    return EndUnary(*context, NotALead());
  }
  grpc::ServerReadReactor<v1::PushKvRequest>* PushKv(grpc::CallbackServerContext* context,
                                                     v1::PushKvResponse*) override {
    return StartPushKv(
        [this](const v1::PushKvRequest& message, absl::Span<const int32_t> blocks) {
          const std::string& rows = message.rows();
          return follower_.WriteRows(
              message.layer() - first_layer_, blocks, message.first_position(),
              {reinterpret_cast<const std::byte*>(rows.data()), rows.size()});
        },
        rpc::FromChrono(context->deadline()));
  }
  grpc::ServerUnaryReactor* ReleaseHandoff(grpc::CallbackServerContext* context,
                                           const v1::ReleaseHandoffRequest*,
                                           v1::ReleaseHandoffResponse*) override {
    return EndUnary(*context, absl::OkStatus());
  }
  // Its lead's rows wake it.
  grpc::ServerUnaryReactor* Wake(grpc::CallbackServerContext* context, const v1::WakeRequest*,
                                 v1::WakeResponse*) override {
    return EndUnary(*context, absl::OkStatus());
  }

 private:
  group::GroupFollower& follower_;
  const int64_t first_layer_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeFollowerService(group::GroupFollower& follower,
                                                   int64_t first_layer) {
  return std::make_unique<Service>(follower, first_layer);
}

}  // namespace tessera::worker
