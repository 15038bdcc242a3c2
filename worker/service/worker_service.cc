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

constexpr absl::Duration kQueueFullRetryDelay = absl::Seconds(1);

class Service final : public v1::WorkerService::CallbackService {
 public:
  Service(engine::Engine& engine, WorkerServiceOptions options)
      : engine_(engine), options_(std::move(options)) {}

  grpc::ServerWriteReactor<v1::DecodeResponse>* Decode(grpc::CallbackServerContext* context,
                                                       const v1::DecodeRequest* request) override {
    // The engine's id is unique for ever: a retry on this worker never meets its predecessor, nor
    // a late cancellation a successor.
    const RequestId id(absl::StrCat(request->request_id(), "#", next_serial_.fetch_add(1)));
    auto* stream =
        new DecodeStream(options_.max_buffered_tokens, [this, id] { engine_.Cancel(id); });
    if (absl::Status status = Submit(*context, *request, id, *stream); !status.ok()) {
      stream->Refuse(status);
    }
    return stream;
  }

 private:
  absl::Status Submit(const grpc::CallbackServerContext& context, const v1::DecodeRequest& request,
                      const RequestId& id, DecodeStream& stream) {
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
    absl::Status status = engine_.Submit(std::move(generation), stream.MakeSink());
    if (status.GetPayload(engine::kQueueFullPayload)) {
      status.ErasePayload(engine::kQueueFullPayload);
      return rpc::WithRetryDelay(std::move(status), kQueueFullRetryDelay);
    }
    return status;
  }

  engine::Engine& engine_;
  const WorkerServiceOptions options_;
  std::atomic<uint64_t> next_serial_{0};
};

}  // namespace

std::unique_ptr<grpc::Service> MakeWorkerService(engine::Engine& engine,
                                                 WorkerServiceOptions options) {
  return std::make_unique<Service>(engine, std::move(options));
}

}  // namespace tessera::worker
