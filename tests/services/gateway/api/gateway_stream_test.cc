#include "tests/services/gateway/api/gateway_fixture.h"

namespace tessera::gateway {
namespace {

using ::testing::HasSubstr;

TEST_F(GatewayTest, StreamsTextIdsAndUsage) {
  FakeWorker& worker = NewWorker();
  worker.script = Script("A cat sits on the mat.");
  AddWorker("a", worker);
  StartGateway();
  v1::GenerateRequest request = Ask("What is it?");
  request.set_request_id("my-id");
  request.mutable_sampling()->set_seed(7);
  const Answer answer = Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.texts[0], "A cat sits on the mat.");
  EXPECT_EQ(answer.ids[0], worker.script);
  EXPECT_EQ(answer.request_id, "my-id");
  EXPECT_EQ(answer.started.request_id(), "my-id");
  EXPECT_EQ(answer.started.model(), "tiny_mha");
  EXPECT_EQ(answer.started.seed(), 7u);
  EXPECT_EQ(answer.started.model_revision(), HexString(Processor().model_revision()));
  ASSERT_EQ(answer.finished.size(), 1u);
  EXPECT_EQ(answer.finished[0].reason(), v1::FINISH_REASON_STOP);
  EXPECT_TRUE(answer.usage_was_last);
  EXPECT_EQ(answer.usage.completion_tokens(), static_cast<int32_t>(worker.script.size()));
  EXPECT_EQ(answer.usage.prompt_tokens(), worker.requests()[0].prompt().token_ids_size());
  EXPECT_EQ(answer.usage.cached_tokens(), 2);
  EXPECT_EQ(worker.requests()[0].sampling().max_tokens(), 512);
  EXPECT_EQ(worker.requests()[0].sampling().stop_token_ids(0), Eos());
  ExpectNothingLeaks();
}

TEST_F(GatewayTest, StopStringAcrossTokensEndsTheAnswerAndTheWorkersWork) {
  FakeWorker& worker = NewWorker();
  worker.script = Encode("one two three four five");
  worker.hang = true;
  AddWorker("a", worker);
  StartGateway();
  v1::GenerateRequest request = Ask("Count.");
  request.mutable_sampling()->add_stop("ee fo");
  const Answer answer = Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.texts[0], "one two thr");
  EXPECT_EQ(answer.finished[0].reason(), v1::FINISH_REASON_STOP_STRING);
  EXPECT_EQ(answer.finished[0].stop_string(), "ee fo");
  ExpectNothingLeaks();
}

TEST_F(GatewayTest, BoxesComeAsEventsAndTagsCanBeStripped) {
  FakeWorker& worker = NewWorker();
  worker.script = Script("I see <|ref|>a dog<|/ref|><|det|>[[0, 0, 999, 500]]<|/det|> here.");
  AddWorker("a", worker);
  StartGateway();
  v1::GenerateRequest request = Ask("Where?");
  request.mutable_grounding()->set_strip_tags(true);
  // A 2 × 2 BMP, 24 bits.
  const std::string bmp(
      "BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x02\0\0\0\x02\0\0\0\x01\0\x18\0\0\0\0\0\x10\0\0\0\0"
      "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
      "\1\2\3\4\5\6\0\0\1\2\3\4\5\6\0\0",
      70);
  request.mutable_messages(0)->add_content()->mutable_image()->set_data(bmp);
  const Answer answer = Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.texts[0], "I see a dog here.");
  ASSERT_EQ(answer.boxes.size(), 1u);
  EXPECT_EQ(answer.boxes[0].phrase(), "a dog");
  EXPECT_TRUE(answer.boxes[0].valid()) << answer.boxes[0].invalid_reason();
  EXPECT_EQ(answer.boxes[0].normalized().y2(), 500);
  EXPECT_EQ(answer.boxes[0].pixels().x2(), 2);
  EXPECT_GT(answer.usage.image_tokens(), 0);
  ASSERT_EQ(worker.requests()[0].prompt().images_size(), 1);
  EXPECT_EQ(worker.requests()[0].prompt().images(0).identity().size(), 32u);
}

TEST_F(GatewayTest, SeveralChoicesFollowTheFirstOnesFirstToken) {
  FakeWorker& worker = NewWorker();
  worker.script = Script("Yes.");
  AddWorker("a", worker);
  StartGateway();
  v1::GenerateRequest request = Ask("Is it?");
  request.mutable_sampling()->set_n(3);
  const Answer answer = Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  for (size_t choice = 0; choice < 3; ++choice) EXPECT_EQ(answer.texts[choice], "Yes.");
  EXPECT_EQ(answer.finished.size(), 3u);
  EXPECT_EQ(answer.usage.completion_tokens(), static_cast<int32_t>(3 * worker.script.size()));
  EXPECT_EQ(worker.requests()[0].sampling().choice(), 0u);
  EXPECT_EQ(worker.requests()[0].sampling().seed(), worker.requests()[1].sampling().seed());
  EXPECT_EQ(worker.calls, 3);
  ExpectNothingLeaks();
}

TEST_F(GatewayTest, LogprobsComePerToken) {
  FakeWorker& worker = NewWorker();
  worker.script = Script("ok then");
  AddWorker("a", worker);
  StartGateway();
  v1::GenerateRequest request = Ask("?");
  request.mutable_sampling()->set_logprobs(2);
  const Answer answer = Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  ASSERT_EQ(answer.logprobs.size(), worker.script.size());
  for (size_t i = 0; i < answer.logprobs.size(); ++i) {
    EXPECT_EQ(answer.logprobs[i].token().token_id(), worker.script[i]);
    EXPECT_EQ(answer.logprobs[i].token().logprob(), -0.5f);
    EXPECT_EQ(answer.logprobs[i].top_size(), 2);
    EXPECT_EQ(answer.logprobs[i].top(0).token_bytes(),
              std::string(Processor().tokenizer().TokenBytes(100)));
  }
}

TEST_F(GatewayTest, ClientCancellationReachesTheWorker) {
  FakeWorker& worker = NewWorker();
  worker.script = Encode("and so on");
  worker.hang = true;
  AddWorker("a", worker);
  StartGateway();
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, Ask("Go on."));
  v1::GenerateResponse event;
  while (reader->Read(&event) && !event.has_text()) {
  }
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  ExpectNothingLeaks();
}

TEST_F(GatewayTest, DeadlineReachesTheWorkerAndTheClient) {
  FakeWorker& worker = NewWorker();
  worker.script = Encode("and so on");
  worker.hang = true;
  AddWorker("a", worker);
  StartGateway();
  const Answer answer = Generate(Ask("Go on."), absl::Milliseconds(300));
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(answer.texts[0], "and so on") << "what was streamed before is valid";
  ExpectNothingLeaks();
}

TEST_F(GatewayTest, TheServersOwnDeadlineEndsCallsWithoutOne) {
  FakeWorker& worker = NewWorker();
  worker.script = Encode("and so on");
  worker.hang = true;
  AddWorker("a", worker);
  config_.gateway.default_deadline = absl::Milliseconds(200);
  StartGateway();
  grpc::ClientContext context;
  EXPECT_EQ(Read(context, Ask("Go on.")).status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  ExpectNothingLeaks();
}

TEST_F(GatewayTest, TooManyCallsAreRefusedWithRetryInfo) {
  FakeWorker& worker = NewWorker();
  worker.script = Encode("and");
  worker.hang = true;
  AddWorker("a", worker);
  config_.gateway.max_concurrent_requests = 1;
  StartGateway();
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, Ask("Go on."));
  v1::GenerateResponse event;
  ASSERT_TRUE(reader->Read(&event));
  const Answer refused = Generate(Ask("me too"));
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(rpc::RetryDelayOf(rpc::FromGrpcStatus(refused.status)).has_value());
  EXPECT_FALSE(refused.request_id.empty());
  context.TryCancel();
  reader->Finish();
  ExpectNothingLeaks();
}

TEST_F(GatewayTest, CountTokensAgreesWithGenerate) {
  FakeWorker& worker = NewWorker();
  worker.script = Script("x");
  AddWorker("a", worker);
  StartGateway();
  const v1::GenerateRequest ask = Ask("How many tokens is this?");
  v1::CountTokensRequest request;
  *request.mutable_messages() = ask.messages();
  grpc::ClientContext context;
  v1::CountTokensResponse response;
  ASSERT_TRUE(stub_->CountTokens(&context, request, &response).ok());
  EXPECT_EQ(response.prompt_tokens(), Generate(ask).usage.prompt_tokens());
}

TEST_F(GatewayTest, GetModelDescribesTheFolder) {
  StartGateway();
  grpc::ClientContext context;
  v1::Model model;
  ASSERT_TRUE(stub_->GetModel(&context, {}, &model).ok());
  EXPECT_EQ(model.name(), "tiny_mha");
  EXPECT_EQ(model.context_tokens(), 4096);
  EXPECT_EQ(model.vocabulary_size(), 2112);
  EXPECT_EQ(model.tile_side_pixels(), 384);
  EXPECT_EQ(model.max_images(), 16);
}

}  // namespace
}  // namespace tessera::gateway
