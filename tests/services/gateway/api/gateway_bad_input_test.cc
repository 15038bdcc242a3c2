#include <grpcpp/generic/generic_stub.h>

#include <cmath>
#include <limits>

#include "tests/services/gateway/api/gateway_fixture.h"

namespace tessera::gateway {
namespace {

using ::testing::HasSubstr;

struct BadRow {
  const char* name;
  std::function<void(v1::GenerateRequest&)> spoil;
  grpc::StatusCode code;
  std::string field;    // of the BadRequest; empty: none
  std::string message;  // part of the error's text
};

v1::SamplingParameters& Sampling(v1::GenerateRequest& request) {
  return *request.mutable_sampling();
}
v1::ContentPart& NewPart(v1::GenerateRequest& request) {
  return *request.mutable_messages(0)->add_content();
}

std::vector<BadRow> BadRows() {
  const auto kBad = grpc::StatusCode::INVALID_ARGUMENT;
  const double nan = std::nan("");
  const double inf = std::numeric_limits<double>::infinity();
  using R = v1::GenerateRequest;
  return {
      {"no messages", [](R& r) { r.clear_messages(); }, kBad, "messages", "there are none"},
      {"other model", [](R& r) { r.set_model("gpt"); }, grpc::StatusCode::NOT_FOUND, "",
       "\"tiny_mha\" is"},
      {"role unset", [](R& r) { r.mutable_messages(0)->set_role(v1::ROLE_UNSPECIFIED); }, kBad,
       "messages[0].role", "is not set"},
      {"unknown role", [](R& r) { r.mutable_messages(0)->set_role(static_cast<v1::Role>(9)); },
       kBad, "messages[0].role", "9 is not a role"},
      {"no content", [](R& r) { r.mutable_messages(0)->clear_content(); }, kBad,
       "messages[0].content", "no parts"},
      {"part unset", [](R& r) { NewPart(r); }, kBad, "messages[0].content[1]", "neither text"},
      {"first is assistant", [](R& r) { r.mutable_messages(0)->set_role(v1::ROLE_ASSISTANT); },
       kBad, "messages[0]", "role"},
      {"two system prompts",
       [](R& r) {
         r.mutable_messages(0)->set_role(v1::ROLE_SYSTEM);
         r.set_system_prompt("be kind");
       },
       kBad, "system_prompt", "give one of them"},
      {"empty phrase", [](R& r) { NewPart(r).set_referred_phrase(""); }, kBad,
       "messages[0].content[1].referred_phrase", "empty"},
      {"tag in phrase", [](R& r) { NewPart(r).set_referred_phrase("a<|/ref|>b"); }, kBad,
       "messages[0].content[1].referred_phrase", "<|/ref|>"},
      {"placeholder without picture", [](R& r) { NewPart(r).set_text("<image>"); }, kBad,
       "messages[0]", "1 <image> placeholders but 0 images"},
      {"0-byte picture", [](R& r) { NewPart(r).mutable_image(); }, kBad,
       "messages[0].content[1].image", ""},
      {"no picture", [](R& r) { NewPart(r).mutable_image()->set_data("hello, I am text"); }, kBad,
       "messages[0].content[1].image", ""},
      {"huge header",
       [](R& r) {
         NewPart(r).mutable_image()->set_data(
             std::string("BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x50\xc3\0\0\x50\xc3\0\0\x01\0"
                         "\x18\0\0\0\0\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
                         54));
       },
       kBad, "messages[0].content[1].image", "50000"},
      {"100 pictures",
       [](R& r) {
         for (int i = 0; i < 100; ++i) NewPart(r).mutable_image()->set_data("x");
       },
       kBad, "messages", "100 pictures, the limit is 16"},
      {"prompt too long",
       [](R& r) {
         std::string text;
         for (int i = 0; i < 20000; ++i) text += " q" + std::to_string(i);
         NewPart(r).set_text(text);
       },
       kBad, "messages", "4095"},
      {"max_tokens 0", [](R& r) { Sampling(r).set_max_tokens(0); }, kBad, "sampling.max_tokens",
       "0 is below 1"},
      {"max_tokens huge", [](R& r) { Sampling(r).set_max_tokens(2147483647); }, kBad,
       "sampling.max_tokens", "leaves of the context of 4096"},
      {"min above max",
       [](R& r) {
         Sampling(r).set_max_tokens(4);
         Sampling(r).set_min_tokens(5);
       },
       kBad, "sampling.min_tokens", "5 is above max_tokens, 4"},
      {"temperature NaN", [nan](R& r) { Sampling(r).set_temperature(nan); }, kBad,
       "sampling.temperature", "NaN is not in [0, 100]"},
      {"temperature inf", [inf](R& r) { Sampling(r).set_temperature(inf); }, kBad,
       "sampling.temperature", "inf"},
      {"temperature negative", [](R& r) { Sampling(r).set_temperature(-1); }, kBad,
       "sampling.temperature", "-1"},
      {"top_p 0", [](R& r) { Sampling(r).set_top_p(0); }, kBad, "sampling.top_p", "(0, 1]"},
      {"top_p NaN", [nan](R& r) { Sampling(r).set_top_p(nan); }, kBad, "sampling.top_p", "NaN"},
      {"top_k negative", [](R& r) { Sampling(r).set_top_k(-1); }, kBad, "sampling.top_k",
       "-1 is below 0"},
      {"repetition_penalty 0", [](R& r) { Sampling(r).set_repetition_penalty(0); }, kBad,
       "sampling.repetition_penalty", "(0, 10]"},
      {"presence_penalty 3", [](R& r) { Sampling(r).set_presence_penalty(3); }, kBad,
       "sampling.presence_penalty", "[-2, 2]"},
      {"frequency_penalty NaN", [nan](R& r) { Sampling(r).set_frequency_penalty(nan); }, kBad,
       "sampling.frequency_penalty", "NaN"},
      {"logprobs 21", [](R& r) { Sampling(r).set_logprobs(21); }, kBad, "sampling.logprobs",
       "21 is not in [0, 20]"},
      {"n 16384", [](R& r) { Sampling(r).set_n(16384); }, kBad, "sampling.n",
       "16384 is not in [1, 8]"},
      {"empty stop", [](R& r) { Sampling(r).add_stop(""); }, kBad, "sampling.stop[0]", "0 bytes"},
      {"17 stops",
       [](R& r) {
         for (int i = 0; i < 17; ++i) Sampling(r).add_stop("x");
       },
       kBad, "sampling.stop", "17 strings, the limit is 16"},
      {"request id", [](R& r) { r.set_request_id("a\nb"); }, kBad, "request_id", "printable ASCII"},
  };
}

TEST_F(GatewayTest, BadInputIsNamedAndTheServerLivesOn) {
  FakeWorker& worker = NewWorker();
  worker.script = Script("fine");
  AddWorker("a", worker);
  StartGateway();
  for (const BadRow& row : BadRows()) {
    SCOPED_TRACE(row.name);
    v1::GenerateRequest request = Ask("Hello");
    row.spoil(request);
    const Answer answer = Generate(request);
    EXPECT_EQ(answer.status.error_code(), row.code) << answer.status.error_message();
    EXPECT_THAT(answer.status.error_message(), HasSubstr(row.message));
    const auto violations = rpc::FieldViolationsOf(rpc::FromGrpcStatus(answer.status));
    EXPECT_EQ(violations.empty() ? "" : violations[0].field, row.field)
        << answer.status.error_message();
    if (request.has_sampling() || !request.request_id().empty()) continue;
    // CountTokens says the same of the same conversation.
    v1::CountTokensRequest count;
    count.set_model(request.model());
    *count.mutable_messages() = request.messages();
    count.set_system_prompt(request.system_prompt());
    grpc::ClientContext context;
    v1::CountTokensResponse response;
    const grpc::Status status = stub_->CountTokens(&context, count, &response);
    EXPECT_EQ(status.error_code(), answer.status.error_code());
    EXPECT_EQ(status.error_message(), answer.status.error_message());
  }
  EXPECT_EQ(worker.calls, 0) << "no worker was bothered";
  EXPECT_EQ(Generate(Ask("Hello")).texts[0], "fine") << "the server is alive";
  ExpectNothingLeaks();
}

// A client in a language that does not check its own strings.
TEST_F(GatewayTest, InvalidUtf8AndGarbageAreInvalidArguments) {
  StartGateway();
  auto channel = grpc::CreateChannel(gateway_->address(), grpc::InsecureChannelCredentials());
  const auto call = [&](const std::string& method, const std::string& bytes) {
    grpc::GenericStub stub(channel);
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    const grpc::Slice slice(bytes);
    auto pending = stub.PrepareUnaryCall(&context, "/tessera.v1.InferenceService/" + method,
                                         grpc::ByteBuffer(&slice, 1), &queue);
    pending->StartCall();
    grpc::ByteBuffer response;
    grpc::Status status;
    pending->Finish(&response, &status, nullptr);
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    return status;
  };
  v1::GenerateRequest request = Ask("Hello ?");
  std::string bytes = request.SerializeAsString();
  bytes[bytes.find('?')] = '\xff';
  for (const char* method : {"Generate", "CountTokens"}) {
    const grpc::Status status = call(method, bytes);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method;
    EXPECT_EQ(status.error_message(),
              "messages[0].content[0].text: invalid UTF-8 at byte offset 6");
    EXPECT_EQ(call(method, "\xff\xff\xff\xff").error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
  EXPECT_EQ(call("GetModel", "\x0a\x01\xff").error_message(),
            "model: invalid UTF-8 at byte offset 0");
  ExpectNothingLeaks();
}

TEST_F(GatewayTest, StartErrorsNameTheKeyOrTheAddress) {
  config::ClusterConfig config = config_;
  config.gateway.router_address.clear();
  EXPECT_THAT(std::string(GatewayServer::Start(config).status().message()),
              HasSubstr("gateway.router_address"));
  config = config_;
  config.gateway.listen = router_->address();
  const auto in_use = GatewayServer::Start(config);
  EXPECT_EQ(in_use.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(in_use.status().message()), HasSubstr(router_->address()));
  config = config_;
  config.model.path = "/nonexistent";
  EXPECT_EQ(GatewayServer::Start(config).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace tessera::gateway
