#include <utility>

#include "absl/time/clock.h"
#include "services/base/status_macros.h"
#include "services/rpc/grpc_status.h"
#include "services/rpc/status_details.h"
#include "worker/service/decode_stream.h"
#include "worker/service/handoff.h"

namespace tessera::worker {
namespace {

constexpr absl::Duration kQueueFullRetryDelay = absl::Seconds(1);

// At most one message of a stream is here at a time; gRPC's flow control holds the others back.
class PushKvCall final : public grpc::ServerReadReactor<v1::PushKvRequest> {
 public:
  PushKvCall(RowWriter writer, absl::Time deadline)
      : writer_(std::move(writer)), deadline_(deadline) {
    if (deadline == absl::InfiniteFuture()) {
      Finish(rpc::ToGrpcStatus(absl::InvalidArgumentError("the call carries no deadline")));
    } else {
      StartRead(&message_);
    }
  }

  void OnReadDone(bool ok) override {
    if (!ok) {  // that was all, or the call is cancelled
      Finish(grpc::Status::OK);
      return;
    }
    if (const absl::Status status = Take(); !status.ok()) {
      Finish(rpc::ToGrpcStatus(status));
    } else {
      StartRead(&message_);
    }
  }

  void OnDone() override { delete this; }

 private:
  absl::Status Take() {
    if (absl::Now() >= deadline_) {
      return absl::DeadlineExceededError("the rows came after the call's deadline");
    }
    if (std::exchange(first_, false)) {
      blocks_.assign(message_.blocks().begin(), message_.blocks().end());
    } else if (message_.blocks_size() > 0) {
      return rpc::BadFieldError("blocks", "may be set in the first message only");
    }
    return writer_(message_, blocks_);
  }

  const RowWriter writer_;
  const absl::Time deadline_;
  bool first_ = true;
  std::vector<int32_t> blocks_;
  v1::PushKvRequest message_;
};

}  // namespace

grpc::ServerReadReactor<v1::PushKvRequest>* StartPushKv(RowWriter writer, absl::Time deadline) {
  return new PushKvCall(std::move(writer), deadline);
}

grpc::ServerUnaryReactor* EndUnary(grpc::CallbackServerContext& context,
                                   const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context.DefaultReactor();
  reactor->Finish(rpc::ToGrpcStatus(status));
  return reactor;
}

absl::Status WithQueueDelay(absl::Status status) {
  if (absl::IsUnavailable(status) && rpc::ReasonOf(status).empty()) {
    return rpc::WithReason(std::move(status), kNotNow);
  }
  if (!status.GetPayload(engine::kQueueFullPayload)) return status;
  status.ErasePayload(engine::kQueueFullPayload);
  return rpc::WithRetryDelay(std::move(status), kQueueFullRetryDelay);
}

}  // namespace tessera::worker
