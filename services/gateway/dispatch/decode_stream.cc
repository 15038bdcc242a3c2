// The phase in which a rank streams its tokens.
#include <grpcpp/grpcpp.h>

#include <utility>

#include "services/gateway/dispatch/sequence.h"
#include "services/gateway/dispatch/worker_requests.h"
#include "services/rpc/channel.h"
#include "services/rpc/grpc_status.h"

namespace tessera::gateway {

// Deletes itself when gRPC is done with it.
class PlacedSequence::Stream final : public grpc::ClientReadReactor<v1::DecodeResponse> {
 public:
  Stream(std::shared_ptr<PlacedSequence> sequence, WorkerChannel worker)
      : sequence_(std::move(sequence)),
        worker_(std::move(worker)),
        context_(std::make_shared<grpc::ClientContext>()) {
    context_->set_deadline(rpc::ToChrono(sequence_->request_.deadline));
  }
  const std::shared_ptr<grpc::ClientContext>& context() { return context_; }

  void Begin(const v1::DecodeRequest& request) {
    worker_.stub->async()->Decode(context_.get(), &request,
                                  this);  // serializes the request before it returns
    StartRead(&response_);
    StartCall();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;  // OnDone follows
    if (!sequence_->OnResponse(response_)) context_->TryCancel();
    StartRead(&response_);
  }
  void OnDone(const grpc::Status& status) override {
    const std::unique_ptr<Stream> self(this);
    const std::shared_ptr<PlacedSequence> sequence = std::move(sequence_);
    sequence->attempt_.connection = ConnectionOf(*worker_.channel);
    sequence->OnStreamDone(rpc::FromGrpcStatus(status));
  }

 private:
  std::shared_ptr<PlacedSequence> sequence_;
  const WorkerChannel worker_;
  const std::shared_ptr<grpc::ClientContext> context_;
  v1::DecodeResponse response_;
};

void PlacedSequence::OpenStream() {
  auto stream = std::make_unique<Stream>(shared_from_this(),
                                         dispatcher_->workers.Get(attempt_.decode.address()));
  if (!SetContext(stream->context())) {
    if (attempt_.split()) ReleaseHandoff();
    return;
  }
  const v1::DecodeRequest request =
      attempt_.split() ? ContinueRequest(request_, tokens_, attempt_.epoch, attempt_.handoff_id)
                       : ComputeRequest(request_, tokens_, attempt_.epoch);
  stream.release()->Begin(request);
}

bool PlacedSequence::OnResponse(const v1::DecodeResponse& response) {
  attempt_.had_response = true;
  if (finished_ || attempt_.protocol_broken) {
    attempt_.protocol_broken = true;
  } else if (response.has_tokens()) {
    attempt_.protocol_broken = !OnTokens(response.tokens());
  } else if (response.has_finished()) {
    SetFinished(response.finished());
    // Of a split route the prefill rank has said it.
    if (!attempt_.split()) end_.cached_tokens = response.finished().usage().cached_tokens();
  }
  return !attempt_.protocol_broken;
}

void PlacedSequence::OnStreamDone(const absl::Status& status) {
  // The call may not have reached the rank; a lease that the rank has taken up is unknown by now.
  if (attempt_.split() && !attempt_.had_response) ReleaseHandoff();
  if (observer() == nullptr) return;  // cancelled
  if (finished_ && !attempt_.protocol_broken) return End(end_);
  OnCallFailed(attempt_.decode, status);
}

}  // namespace tessera::gateway
