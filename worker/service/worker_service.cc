#include "worker/service/worker_service.h"

#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/rpc/channel.h"
#include "services/rpc/status_details.h"
#include "tessera/v1/worker.grpc.pb.h"
#include "worker/service/decode_request.h"
#include "worker/service/decode_stream.h"

namespace tessera::worker {
namespace {

class Service final : public v1::WorkerService::CallbackService {
 public:
  Service(engine::Engine& engine, PeerCalls& peers, WorkerServiceOptions options)
      : engine_(engine),
        peers_(peers),
        options_(std::move(options)),
        budget_(options_.max_handoff_bytes) {}

  grpc::ServerWriteReactor<v1::DecodeResponse>* Decode(grpc::CallbackServerContext* context,
                                                       const v1::DecodeRequest* request) override {
    const RequestId id = NextId(request->request_id());
    auto* stream =
        new DecodeStream(options_.max_buffered_tokens, [this, id] { engine_.Cancel(id); });
    if (absl::Status status = Submit(*context, *request, id, *stream); !status.ok()) {
      stream->Refuse(status);
    }
    return stream;
  }

  grpc::ServerUnaryReactor* Prefill(grpc::CallbackServerContext* context,
                                    const v1::PrefillRequest* request,
                                    v1::PrefillResponse* response) override {
    absl::StatusOr<engine::GenerationRequest> generation = CheckPrefill(*context, *request);
    if (!generation.ok()) return EndUnary(*context, generation.status());
    return StartPrefill(Handoff(), *request, *std::move(generation), response);
  }

  grpc::ServerUnaryReactor* OpenHandoff(grpc::CallbackServerContext* context,
                                        const v1::OpenHandoffRequest* request,
                                        v1::OpenHandoffResponse* response) override {
    if (!TakesKv()) return EndUnary(*context, NoHandoff());
    return StartOpenHandoff(Handoff(), rpc::FromChrono(context->deadline()), *request, response);
  }

  grpc::ServerReadReactor<v1::PushKvRequest>* PushKv(grpc::CallbackServerContext* context,
                                                     v1::PushKvResponse*) override {
    // The lease's blocks are known here. Layers of the engine's model are the model's first ones.
    return StartPushKv(
        [this](const v1::PushKvRequest& message, absl::Span<const int32_t>) {
          if (!TakesKv()) return NoHandoff();
          const std::string& rows = message.rows();
          return engine_.WriteRows(message.handoff_id(), message.layer(), message.first_position(),
                                   {reinterpret_cast<const std::byte*>(rows.data()), rows.size()});
        },
        rpc::FromChrono(context->deadline()));
  }

  grpc::ServerUnaryReactor* ReleaseHandoff(grpc::CallbackServerContext* context,
                                           const v1::ReleaseHandoffRequest* request,
                                           v1::ReleaseHandoffResponse*) override {
    engine_.ReleaseLease(request->handoff_id());
    return EndUnary(*context, absl::OkStatus());
  }

  grpc::ServerUnaryReactor* Wake(grpc::CallbackServerContext* context,
                                 const v1::WakeRequest* request, v1::WakeResponse*) override {
    if (options_.is_wake_due &&
        options_.is_wake_due(request->group(), request->epoch(), request->step())) {
      engine_.WakeForPeers();
    }
    return EndUnary(*context, absl::OkStatus());
  }

 private:
  // The engine's id is unique for ever: a retry on this worker never meets its predecessor, nor a
  // late cancellation a successor.
  RequestId NextId(const std::string& request_id) {
    return RequestId(absl::StrCat(request_id, "#", next_serial_.fetch_add(1)));
  }

  bool TakesKv() const { return options_.handoff.has_value() && options_.handoff->column; }
  static absl::Status NoHandoff() {
    return absl::UnimplementedError("this worker takes no keys and values over");
  }
  HandoffContext Handoff() { return {engine_, *options_.handoff, peers_, budget_}; }

  // A request as the engine takes it, under the given id.
  absl::StatusOr<engine::GenerationRequest> Check(const grpc::CallbackServerContext& context,
                                                  const v1::DecodeRequest& request,
                                                  const RequestId& id) const {
    const absl::Time deadline = rpc::FromChrono(context.deadline());
    if (deadline == absl::InfiniteFuture()) {
      return absl::InvalidArgumentError("the call carries no deadline");
    }
    if (request.model_revision() != options_.model_revision) {
      return absl::FailedPreconditionError(absl::StrCat(
          "the request was prepared for model revision ", request.model_revision().substr(0, 64),
          ", this worker serves ", options_.model_revision));
    }
    if (const uint64_t epoch = options_.epoch(); request.epoch() < epoch) {
      return absl::FailedPreconditionError(absl::StrCat("the route's epoch is ", request.epoch(),
                                                        ", this worker has registered in epoch ",
                                                        epoch));
    }
    TESSERA_ASSIGN_OR_RETURN(engine::GenerationRequest generation,
                             ToGenerationRequest(request, deadline));
    generation.id = id;
    return generation;
  }

  absl::StatusOr<engine::GenerationRequest> CheckPrefill(const grpc::CallbackServerContext& context,
                                                         const v1::PrefillRequest& request) {
    if (!options_.handoff.has_value()) return NoHandoff();
    TESSERA_RETURN_IF_ERROR(options_.handoff->can_hand_over);
    TESSERA_RETURN_IF_ERROR(CheckId(request.handoff_id(), "handoff_id"));
    if (request.decode_address().empty()) {
      return rpc::BadFieldError("decode_address", "is not set");
    }
    if (request.request().has_handed_over()) {
      return rpc::BadFieldError("request.handed_over", "must not be set: the prompt is needed");
    }
    return Check(context, request.request(), NextId(request.request().request_id()));
  }

  absl::Status Submit(const grpc::CallbackServerContext& context, const v1::DecodeRequest& request,
                      const RequestId& id, DecodeStream& stream) {
    TESSERA_ASSIGN_OR_RETURN(engine::GenerationRequest generation, Check(context, request, id));
    return WithQueueDelay(engine_.Submit(std::move(generation), stream.MakeSink()));
  }

  engine::Engine& engine_;
  PeerCalls& peers_;
  const WorkerServiceOptions options_;
  SendBudget budget_;
  std::atomic<uint64_t> next_serial_{0};
};

}  // namespace

std::unique_ptr<grpc::Service> MakeWorkerService(engine::Engine& engine, PeerCalls& peers,
                                                 WorkerServiceOptions options) {
  return std::make_unique<Service>(engine, peers, std::move(options));
}

}  // namespace tessera::worker
