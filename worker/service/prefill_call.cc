#include <grpcpp/client_context.h>

#include <algorithm>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/rpc/channel.h"
#include "services/rpc/grpc_status.h"
#include "services/rpc/status_details.h"
#include "worker/service/decode_events.h"
#include "worker/service/handoff.h"

namespace tessera::worker {
namespace {

// The streams end so long before the lease, whose clock the decode rank starts later.
constexpr absl::Duration kLeaseMargin = absl::Milliseconds(50);

absl::Status DecodeRankError(const absl::Status& status) {
  return rpc::WithReason(
      absl::UnavailableError(absl::StrCat("the decode rank: ", status.message())),
      kDecodeRankUnavailable);
}

// What the decode rank says of the request itself is said to the caller; all else is its failure.
absl::Status OpenError(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnimplemented:
      return absl::Status(status.code(), absl::StrCat("the decode rank: ", status.message()));
    default:
      return DecodeRankError(status);
  }
}

// The cached rows are some of the prompt's, and the targets take each layer exactly once, in order.
bool IsSound(const v1::OpenHandoffResponse& opened, int64_t num_tokens, int64_t num_layers) {
  if (opened.cached_tokens() < 0 || opened.cached_tokens() > num_tokens) return false;
  int64_t next = 0;
  for (const v1::HandoffTarget& target : opened.targets()) {
    if (target.first_layer() != next || target.num_layers() < 1) return false;
    next += target.num_layers();
  }
  return next == num_layers;
}

// Finishes when the sender, the engine and the thread that has started them are all through with
// it.
class PrefillCall final : public grpc::ServerUnaryReactor {
 public:
  PrefillCall(const HandoffContext& context, const v1::PrefillRequest& request,
              engine::GenerationRequest generation, v1::PrefillResponse* response)
      : context_(context),
        decode_address_(request.decode_address()),
        handoff_id_(request.handoff_id()),
        engine_id_(generation.id),
        generation_(std::move(generation)),
        response_(response) {
    SetTerms(open_request_, context_.options.terms);
    open_request_.set_handoff_id(handoff_id_);
    open_request_.set_max_tokens(request.request().sampling().max_tokens());
    open_request_.set_lease_ms(absl::ToInt64Milliseconds(context_.options.lease));
    *open_request_.mutable_prompt() = request.request().prompt();
    for (v1::PromptImage& image : *open_request_.mutable_prompt()->mutable_images()) {
      image.clear_tiles();
    }
  }

  void Start() {
    open_context_.set_deadline(rpc::ToChrono(generation_.deadline));
    stub_ = context_.peers.StubOf(decode_address_);
    opened_at_ = absl::Now();
    stub_->async()->OpenHandoff(&open_context_, &open_request_, &opened_,
                                [this](const grpc::Status& status) { OnOpened(status); });
  }

  void OnCancel() override {
    std::shared_ptr<KvSender> sender;
    {
      std::lock_guard lock(mutex_);
      cancelled_ = true;
      sender = sender_;
    }
    open_context_.TryCancel();
    context_.engine.Cancel(engine_id_);
    if (sender) sender->Fail(absl::CancelledError("the call was cancelled"));
  }
  void OnDone() override {
    // The caller went before it had the answer: nobody will take the lease.
    if (lease_stands_ && cancelled_) context_.peers.ReleaseHandoff(decode_address_, handoff_id_);
    delete this;
  }

 private:
  class Sink final : public engine::EventSink {
   public:
    explicit Sink(PrefillCall& call) : call_(call) {}
    void OnToken(const engine::TokenEvent& event) override {
      v1::DecodedTokens& tokens = *call_.response_->mutable_tokens();
      if (tokens.token_ids().empty()) {
        tokens.set_first_position(static_cast<int32_t>(event.position));
      }
      AppendToken(tokens, event);
    }
    void OnFinish(engine::FinishReason reason, const absl::Status& status,
                  const engine::Usage& usage) override {
      call_.OnComputed(reason, status, usage);
    }

   private:
    PrefillCall& call_;
  };

  void OnOpened(const grpc::Status& grpc_status) {
    absl::Status status = rpc::FromGrpcStatus(grpc_status);
    if (!status.ok()) {
      Finish(rpc::ToGrpcStatus(OpenError(status)));
      return;
    }
    if (!IsSound(opened_, static_cast<int64_t>(generation_.token_ids.size()),
                 context_.options.terms.num_layers)) {
      status = DecodeRankError(absl::InternalError("its layers do not add up to the model"));
    }
    {
      std::lock_guard lock(mutex_);
      if (cancelled_) status = absl::CancelledError("the call was cancelled");
    }
    if (!status.ok()) {
      context_.peers.ReleaseHandoff(decode_address_, handoff_id_);
      Finish(rpc::ToGrpcStatus(status));
      return;
    }
    Send();
  }

  void Send() {
    std::vector<KvTarget> targets;
    for (const v1::HandoffTarget& target : opened_.targets()) {
      const bool leads = targets.empty();
      targets.push_back({leads ? stub_ : context_.peers.StubOf(target.address()),
                         target.first_layer(),
                         target.num_layers(),
                         {}});
      if (!leads) targets.back().blocks.assign(target.blocks().begin(), target.blocks().end());
    }
    KvSender::Options options;
    options.handoff_id = handoff_id_;
    options.skip_tokens = opened_.cached_tokens();
    options.row_bytes = context_.options.terms.row_bytes();
    options.deadline =
        std::min(generation_.deadline, opened_at_ + context_.options.lease - kLeaseMargin);
    options.budget = &context_.budget;
    const std::shared_ptr<KvSender> sender =
        KvSender::Start(std::move(targets), std::move(options),
                        [this](KvSendResult result) { OnSent(std::move(result)); });
    bool stop;
    {
      std::lock_guard lock(mutex_);
      sender_ = sender;
      stop = cancelled_;
    }
    if (stop) sender->Fail(absl::CancelledError("the call was cancelled"));
    generation_.kv_export = sender->MakeExport();
    generation_.kv_export_from = opened_.cached_tokens();
    const absl::Status status =
        context_.engine.Submit(std::move(generation_), std::make_unique<Sink>(*this));
    if (!status.ok()) {
      OnComputed(engine::FinishReason::kError, WithQueueDelay(status), {});
    } else {
      {
        std::lock_guard lock(mutex_);
        stop = cancelled_ || !status_.ok();
      }
      if (stop) context_.engine.Cancel(engine_id_);  // an earlier one came before its request
    }
    PartEnded();
  }

  void OnComputed(engine::FinishReason reason, const absl::Status& status,
                  const engine::Usage& usage) {
    std::shared_ptr<KvSender> sender;
    {
      std::lock_guard lock(mutex_);
      reason_ = reason;
      usage_ = usage;
      if (!status.ok() && status_.ok()) status_ = status;
      sender = sender_;
    }
    if (!status.ok()) sender->Fail(status);
    PartEnded();
  }

  void OnSent(KvSendResult result) {
    const bool failed = !result.status.ok();
    {
      std::lock_guard lock(mutex_);
      if (failed && status_.ok()) {
        status_ = result.failed_here ? result.status : DecodeRankError(result.status);
      }
      sent_ = std::move(result);
    }
    if (failed) context_.engine.Cancel(engine_id_);
    PartEnded();
  }

  void PartEnded() {
    {
      std::lock_guard lock(mutex_);
      if (--parts_ > 0) return;
    }
    End();
  }

  // Nobody else touches the call any more.
  void End() {
    const bool ended = status_.ok() && reason_ != engine::FinishReason::kHandedOver;
    // Rows of a broken stream may still be on their way to a rank that knows of no lease; its
    // blocks are given to others only when the lease's own deadline has ended the streams.
    if (ended || (!status_.ok() && opened_.targets_size() == 1)) {
      context_.peers.ReleaseHandoff(decode_address_, handoff_id_);
    }
    sender_.reset();
    if (!status_.ok()) {
      Finish(rpc::ToGrpcStatus(status_));
      return;
    }
    lease_stands_ = !ended;
    if (ended) SetFinished(*response_->mutable_finished(), reason_, usage_);
    response_->set_cached_tokens(static_cast<int32_t>(usage_.cached_tokens));
    response_->set_handoff_bytes(sent_.bytes);
    response_->set_handoff_tail_us(absl::ToInt64Microseconds(sent_.tail));
    Finish(grpc::Status::OK);
  }

  const HandoffContext context_;
  const std::string decode_address_;
  const std::string handoff_id_;
  const RequestId engine_id_;
  engine::GenerationRequest generation_;  // until it is submitted
  v1::PrefillResponse* const response_;
  std::shared_ptr<v1::WorkerService::Stub> stub_;
  absl::Time opened_at_;
  grpc::ClientContext open_context_;
  v1::OpenHandoffRequest open_request_;
  v1::OpenHandoffResponse opened_;

  bool lease_stands_ = false;  // the answer was given, and the lease is the caller's

  std::mutex mutex_;  // guards all below, until End
  bool cancelled_ = false;
  int parts_ = 3;  // of those that will still touch the call: Send, OnComputed, OnSent
  std::shared_ptr<KvSender> sender_;
  absl::Status status_;  // of what failed first
  engine::FinishReason reason_ = engine::FinishReason::kError;
  engine::Usage usage_;
  KvSendResult sent_;
};

}  // namespace

grpc::ServerUnaryReactor* StartPrefill(const HandoffContext& context,
                                       const v1::PrefillRequest& request,
                                       engine::GenerationRequest generation,
                                       v1::PrefillResponse* response) {
  auto* call = new PrefillCall(context, request, std::move(generation), response);
  call->Start();
  return call;
}

}  // namespace tessera::worker
