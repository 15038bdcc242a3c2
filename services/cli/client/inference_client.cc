#include "services/cli/client/inference_client.h"

#include <climits>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"
#include "tessera/v1/inference.grpc.pb.h"

namespace tessera::cli {
namespace {

absl::Status FromGrpc(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

void Append(const v1::GenerateResponse& event,
            const std::function<void(const std::string&)>& on_text, Answer* answer) {
  switch (event.event_case()) {
    case v1::GenerateResponse::kStarted:
      answer->started = event.started();
      break;
    case v1::GenerateResponse::kText:
      answer->text += event.text().text();
      answer->token_ids.insert(answer->token_ids.end(), event.text().token_ids().begin(),
                               event.text().token_ids().end());
      if (on_text && !event.text().text().empty()) {
        on_text(event.text().text());
      }
      break;
    case v1::GenerateResponse::kBox:
      answer->boxes.push_back(event.box());
      break;
    case v1::GenerateResponse::kFinished:
      answer->finished = event.finished();
      break;
    case v1::GenerateResponse::kUsage:
      answer->usage = event.usage();
      break;
    case v1::GenerateResponse::EVENT_NOT_SET:
      break;
  }
}

class GrpcInferenceClient : public InferenceClient {
 public:
  explicit GrpcInferenceClient(const std::shared_ptr<grpc::Channel>& channel)
      : channel_(channel), stub_(v1::InferenceService::NewStub(channel)) {}

  // HealthCheckRequest without a service is the empty message; HealthCheckResponse has the enum
  // `status` as field 1, and SERVING is 1.
  bool IsServing(absl::Time deadline) override {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(deadline));
    grpc::CompletionQueue queue;
    grpc::GenericStub stub(channel_);
    const grpc::Slice empty("");
    const auto call = stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check",
                                            grpc::ByteBuffer(&empty, 1), &queue);
    call->StartCall();
    grpc::ByteBuffer response;
    grpc::Status status;
    call->Finish(&response, &status, this);
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    queue.Shutdown();
    grpc::Slice bytes;
    return status.ok() && response.DumpToSingleSlice(&bytes).ok() &&
           std::string(reinterpret_cast<const char*>(bytes.begin()), bytes.size()) == "\x08\x01";
  }

  absl::StatusOr<v1::Model> GetModel(absl::Time deadline) override {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(deadline));
    v1::Model model;
    const grpc::Status status = stub_->GetModel(&context, v1::GetModelRequest(), &model);
    if (!status.ok()) {
      return FromGrpc(status);
    }
    return model;
  }

  absl::Status Generate(const v1::GenerateRequest& request, absl::Time deadline,
                        const std::function<void(const std::string&)>& on_text,
                        Answer* answer) override {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(deadline));
    SetCurrent(&context);
    const auto reader = stub_->Generate(&context, request);
    v1::GenerateResponse event;
    while (reader->Read(&event)) {
      if (event.choice() == 0) {
        Append(event, on_text, answer);
      }
    }
    const grpc::Status status = reader->Finish();
    SetCurrent(nullptr);
    return FromGrpc(status);
  }

  void Cancel() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (current_ != nullptr) {
      current_->TryCancel();
    }
  }

 private:
  void SetCurrent(grpc::ClientContext* context) {
    const std::lock_guard<std::mutex> lock(mutex_);
    current_ = context;
  }

  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::InferenceService::Stub> stub_;
  std::mutex mutex_;
  grpc::ClientContext* current_ = nullptr;  // of the call in progress
};

}  // namespace

absl::StatusOr<std::unique_ptr<InferenceClient>> InferenceClient::Connect(
    const std::string& address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == address.size()) {
    return absl::InvalidArgumentError(absl::StrCat("\"", address, "\" is not host:port"));
  }
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(INT_MAX);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY,
                   0);  // a cluster is not reached through the web's proxy
  return std::make_unique<GrpcInferenceClient>(
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
}

}  // namespace tessera::cli
