#include "services/gateway/api/inference_service.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/gateway/api/generate_call.h"
#include "services/gateway/api/wire_request.h"
#include "services/rpc/channel.h"
#include "services/rpc/grpc_status.h"
#include "services/rpc/status_details.h"
#include "tessera/v1/inference.grpc.pb.h"

namespace tessera::gateway {
namespace {

constexpr absl::Duration kBusyRetryDelay = absl::Seconds(1);

template <typename Message>
void SetResponse(const Message& message, grpc::ByteBuffer* response) {
  bool own = false;
  grpc::SerializationTraits<Message>::Serialize(message, response, &own);
}

absl::Status CheckModel(const std::string& model, const ModelDescription& served) {
  if (model.empty() || model == served.name) return absl::OkStatus();
  return absl::NotFoundError(
      absl::StrCat("the model \"", model, "\" is not served here; \"", served.name, "\" is"));
}

// Counts on the preprocessing pool, as Generate prepares there.
class CountTokensCall final : public grpc::ServerUnaryReactor,
                              public std::enable_shared_from_this<CountTokensCall> {
 public:
  CountTokensCall(const ApiContext& api, grpc::CallbackServerContext* context,
                  grpc::ByteBuffer* response)
      : api_(api), deadline_(rpc::FromChrono(context->deadline())), response_(response) {}

  void Begin(const grpc::ByteBuffer& bytes) {
    self_ = shared_from_this();
    absl::StatusOr<Admission::Ticket> ticket = api_.admission.Admit();
    if (!ticket.ok())
      return Finish(rpc::ToGrpcStatus(rpc::WithRetryDelay(ticket.status(), kBusyRetryDelay)));
    ticket_ = *std::move(ticket);
    const absl::Status queued = api_.pool.Submit(
        [self = self_, bytes] { self->Finish(rpc::ToGrpcStatus(self->Count(bytes))); });
    if (!queued.ok()) Finish(rpc::ToGrpcStatus(rpc::WithRetryDelay(queued, kBusyRetryDelay)));
  }
  void OnCancel() override { stopped_ = true; }
  void OnDone() override {
    ticket_ = Admission::Ticket();
    const std::shared_ptr<CountTokensCall> self = std::move(self_);
  }

 private:
  absl::Status Count(const grpc::ByteBuffer& bytes) {
    if (stopped_ || absl::Now() >= deadline_) return absl::CancelledError("the call ended");
    v1::CountTokensRequest request;
    if (absl::Status status = ParseRequest(bytes, &request); !status.ok()) return status;
    if (absl::Status status = CheckModel(request.model(), api_.model); !status.ok()) return status;
    const auto prepared =
        api_.preparer.Prepare({request.messages(), request.system_prompt(), request.grounding()},
                              api_.model.context_tokens, [this] { return stopped_.load(); });
    if (!prepared.ok()) return prepared.status();
    v1::CountTokensResponse response;
    response.set_prompt_tokens(static_cast<int32_t>(prepared->prompt.token_ids.size()));
    response.set_image_tokens(static_cast<int32_t>(prepared->prompt.num_image_tokens));
    for (const prompt::PreparedImage& image : prepared->prompt.images) {
      v1::ImageTokens& tokens = *response.add_images();
      tokens.set_width(static_cast<int32_t>(image.width_pixels));
      tokens.set_height(static_cast<int32_t>(image.height_pixels));
      tokens.set_tiles_across(static_cast<int32_t>(image.tiles.grid.across));
      tokens.set_tiles_down(static_cast<int32_t>(image.tiles.grid.down));
      tokens.set_tokens(static_cast<int32_t>(image.num_tokens));
    }
    SetResponse(response, response_);
    return absl::OkStatus();
  }

  const ApiContext& api_;
  const absl::Time deadline_;
  grpc::ByteBuffer* const response_;
  std::atomic<bool> stopped_{false};
  Admission::Ticket ticket_;
  std::shared_ptr<CountTokensCall> self_;
};

using v1::InferenceService;
using RawService = InferenceService::WithRawCallbackMethod_Generate<
    InferenceService::WithRawCallbackMethod_CountTokens<
        InferenceService::WithRawCallbackMethod_GetModel<InferenceService::Service>>>;

class Service final : public RawService {
 public:
  explicit Service(const ApiContext& api) : api_(api) {}

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Generate(grpc::CallbackServerContext* context,
                                                       const grpc::ByteBuffer* request) override {
    auto call = std::make_shared<GenerateCall>(api_, context);
    call->Begin(*request);
    return call.get();
  }

  grpc::ServerUnaryReactor* CountTokens(grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* request,
                                        grpc::ByteBuffer* response) override {
    auto call = std::make_shared<CountTokensCall>(api_, context, response);
    call->Begin(*request);
    return call.get();
  }

  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* bytes,
                                     grpc::ByteBuffer* response) override {
    v1::GetModelRequest request;
    absl::Status status = ParseRequest(*bytes, &request);
    if (status.ok()) status = CheckModel(request.model(), api_.model);
    if (status.ok()) SetResponse(Describe(), response);
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(rpc::ToGrpcStatus(status));
    return reactor;
  }

 private:
  v1::Model Describe() const {
    const PreparerLimits& limits = api_.preparer.limits();
    v1::Model model;
    model.set_name(api_.model.name);
    model.set_revision(api_.model.revision);
    model.set_context_tokens(static_cast<int32_t>(api_.model.context_tokens));
    model.set_vocabulary_size(static_cast<int32_t>(api_.model.vocabulary_size));
    model.set_tile_side_pixels(
        static_cast<int32_t>(api_.preparer.processor().geometry().image_size));
    model.set_max_images(static_cast<int32_t>(limits.max_images));
    model.set_max_image_bytes(limits.image.max_bytes);
    model.set_max_image_pixels(limits.image.max_pixels);
    return model;
  }

  const ApiContext api_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeInferenceService(const ApiContext& context) {
  return std::make_unique<Service>(context);
}

}  // namespace tessera::gateway
