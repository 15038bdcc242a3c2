#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/rpc/grpc_status.h"
#include "services/rpc/status_details.h"
#include "worker/service/decode_request.h"
#include "worker/service/handoff.h"

namespace tessera::worker {
namespace {

constexpr int64_t kMaxLeaseMs = 10 * 60 * 1000;

class OpenHandoffCall final : public grpc::ServerUnaryReactor {
 public:
  OpenHandoffCall(const HandoffContext& context, const std::string& id,
                  v1::OpenHandoffResponse* response)
      : context_(context), id_(id), response_(response) {}

  void Start(absl::Time deadline, const v1::OpenHandoffRequest& request) {
    absl::StatusOr<engine::GenerationRequest> prompt = Check(deadline, request);
    if (!prompt.ok()) {
      Finish(rpc::ToGrpcStatus(prompt.status()));
      return;
    }
    prompt->deadline = deadline;
    prompt->sampling.max_tokens = request.max_tokens();
    // The call lives until Granted, which Finish stands at the end of.
    context_.engine.LeaseBlocks(
        id_, *std::move(prompt), absl::Milliseconds(request.lease_ms()),
        [this](absl::StatusOr<engine::KvLease> lease) { Granted(std::move(lease)); });
  }

  void OnCancel() override {
    {
      std::lock_guard lock(mutex_);
      cancelled_ = true;
    }
    context_.engine.ReleaseLease(id_);
  }
  void OnDone() override { delete this; }

 private:
  absl::StatusOr<engine::GenerationRequest> Check(absl::Time deadline,
                                                  const v1::OpenHandoffRequest& request) {
    TESSERA_RETURN_IF_ERROR(CheckId(request.handoff_id(), "handoff_id"));
    if (deadline == absl::InfiniteFuture()) {
      return absl::InvalidArgumentError("the call carries no deadline");
    }
    if (request.lease_ms() < 1 || request.lease_ms() > kMaxLeaseMs) {
      return rpc::BadFieldError("lease_ms", absl::StrCat("is ", request.lease_ms(),
                                                         ", must be in [1, ", kMaxLeaseMs, "]"));
    }
    if (!request.has_prompt()) return rpc::BadFieldError("prompt", "is not set");
    TESSERA_RETURN_IF_ERROR(CheckTerms(request, context_.options.terms));
    column_ = context_.options.column();
    if (column_.empty()) return absl::UnavailableError("this rank's group does not stand now");
    return ToPrompt(request.prompt(), "prompt");
  }

  void Granted(absl::StatusOr<engine::KvLease> lease) {
    if (!lease.ok()) {
      Finish(rpc::ToGrpcStatus(lease.status()));
      return;
    }
    bool cancelled;
    {
      std::lock_guard lock(mutex_);
      cancelled = cancelled_;
    }
    if (cancelled) {
      context_.engine.ReleaseLease(id_);
      Finish(grpc::Status::CANCELLED);
      return;
    }
    response_->set_cached_tokens(static_cast<int32_t>(lease->num_cached_tokens));
    response_->set_block_size_tokens(static_cast<int32_t>(context_.options.block_size_tokens));
    for (const ColumnRank& rank : column_) {
      v1::HandoffTarget& target = *response_->add_targets();
      target.set_address(rank.address);
      target.set_first_layer(static_cast<int32_t>(rank.first_layer));
      target.set_num_layers(static_cast<int32_t>(rank.num_layers));
      target.mutable_blocks()->Assign(lease->blocks.begin(), lease->blocks.end());
    }
    Finish(grpc::Status::OK);
  }

  const HandoffContext context_;
  const std::string id_;
  v1::OpenHandoffResponse* const response_;
  std::vector<ColumnRank> column_;

  std::mutex mutex_;  // guards the next one
  bool cancelled_ = false;
};

}  // namespace

grpc::ServerUnaryReactor* StartOpenHandoff(const HandoffContext& context, absl::Time deadline,
                                           const v1::OpenHandoffRequest& request,
                                           v1::OpenHandoffResponse* response) {
  auto* call = new OpenHandoffCall(context, request.handoff_id(), response);
  call->Start(deadline, request);
  return call;
}

}  // namespace tessera::worker
