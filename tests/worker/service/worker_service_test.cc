#include "worker/service/worker_service.h"

#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/impl/codegen/service_type.h>

#include <chrono>
#include <mutex>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/rpc/channel.h"
#include "services/rpc/grpc_status.h"
#include "services/rpc/server.h"
#include "services/rpc/status_details.h"
#include "tessera/v1/worker.grpc.pb.h"
#include "tests/worker/engine/fake_model.h"

namespace tessera::worker {
namespace {

using engine::testing::ExpectedAnswer;
using engine::testing::FakeImage;
using engine::testing::FakeModel;
using engine::testing::FakeModelOptions;
using ::testing::HasSubstr;

v1::DecodeRequest TextRequest(const std::string& id, int max_tokens) {
  v1::DecodeRequest request;
  request.set_request_id(id);
  request.set_model_revision("revision");
  request.set_epoch(3);
  for (int i = 0; i < 9; ++i) request.mutable_prompt()->add_token_ids(2 + i);
  request.mutable_prompt()->set_num_prompt_tokens(9);
  v1::DecodeSampling& sampling = *request.mutable_sampling();
  sampling.set_max_tokens(max_tokens);
  sampling.set_top_p(1);
  sampling.set_repetition_penalty(1);
  sampling.set_num_logprobs(-1);
  return request;
}

engine::GenerationRequest AsEngineRequest(const v1::DecodeRequest& request) {
  engine::GenerationRequest result;
  result.token_ids.assign(request.prompt().token_ids().begin(), request.prompt().token_ids().end());
  result.num_prompt_tokens = request.prompt().num_prompt_tokens();
  result.sampling.max_tokens = request.sampling().max_tokens();
  return result;
}

struct Answer {
  std::vector<int32_t> tokens;
  int num_logprobs = 0;
  v1::DecodeFinished finished;
  absl::Status status;
};

class WorkerServiceTest : public ::testing::Test {
 protected:
  void Start(engine::EngineOptions options, WorkerServiceOptions service_options = {},
             FakeModelOptions model_options = {}) {
    model_ = std::make_unique<FakeModel>(model_options);
    model_->before_forward = [this](auto) {
      std::lock_guard wait(gate_);
      return absl::OkStatus();
    };
    options.kv_block_size_tokens = 4;
    options.kv_cache_bytes = 8 << 20;
    auto created = engine::Engine::Create(*model_, options);
    ASSERT_TRUE(created.ok()) << created.status();
    engine_ = *std::move(created);
    engine_->Start();
    service_options.model_revision = "revision";
    service_options.epoch = [] { return uint64_t{3}; };
    service_ = MakeWorkerService(*engine_, peers_, service_options);
    rpc::ServerOptions server_options;
    server_options.listen = "127.0.0.1:0";
    auto server = rpc::Server::Start(server_options, {service_.get()});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    stub_ = v1::WorkerService::NewStub(rpc::MakeChannel(server_->address()));
  }

  static void SetDeadline(grpc::ClientContext& context,
                          absl::Duration timeout = absl::Seconds(30)) {
    context.set_deadline(rpc::ToChrono(absl::Now() + timeout));
  }

  static Answer ReadAll(grpc::ClientReader<v1::DecodeResponse>& reader) {
    Answer answer;
    v1::DecodeResponse response;
    while (reader.Read(&response)) {
      if (response.has_tokens()) {
        EXPECT_EQ(response.tokens().first_position(), static_cast<int>(answer.tokens.size()));
        for (const int32_t id : response.tokens().token_ids()) answer.tokens.push_back(id);
        answer.num_logprobs += response.tokens().logprobs_size();
      } else {
        answer.finished = response.finished();
      }
    }
    answer.status = rpc::FromGrpcStatus(reader.Finish());
    return answer;
  }

  Answer Decode(const v1::DecodeRequest& request, absl::Duration timeout = absl::Seconds(30)) {
    grpc::ClientContext context;
    SetDeadline(context, timeout);
    return ReadAll(*stub_->Decode(&context, request));
  }

  bool WaitIdle() {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    for (;;) {
      const engine::EngineSnapshot snapshot = engine_->Snapshot();
      if (snapshot.running_requests + snapshot.queued_requests == 0) return true;
      if (std::chrono::steady_clock::now() > limit) return false;
      std::this_thread::yield();
    }
  }

  std::mutex gate_;  // held: no step ends
  std::unique_ptr<FakeModel> model_;
  PeerCalls peers_;
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<grpc::Service> service_;
  std::unique_ptr<rpc::Server> server_;
  std::unique_ptr<v1::WorkerService::Stub> stub_;
};

TEST_F(WorkerServiceTest, StreamsTheAnswerThenItsEnd) {
  Start({});
  v1::DecodeRequest request = TextRequest("a", 20);
  const Answer answer = Decode(request);
  ASSERT_EQ(answer.status, absl::OkStatus());
  const std::vector<int32_t> expected = ExpectedAnswer(AsEngineRequest(request));
  EXPECT_EQ(answer.tokens, expected);
  EXPECT_EQ(answer.num_logprobs, 0);
  EXPECT_EQ(answer.finished.reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(answer.finished.usage().prompt_tokens(), 9);
  EXPECT_EQ(answer.finished.usage().completion_tokens(), 20);

  request.set_request_id("b");
  request.mutable_sampling()->add_stop_token_ids(expected[3]);
  request.mutable_sampling()->set_num_logprobs(2);
  const Answer stopped = Decode(request);
  EXPECT_EQ(stopped.finished.reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(stopped.num_logprobs, static_cast<int>(stopped.tokens.size()));
  EXPECT_EQ(stopped.finished.usage().cached_tokens(), 8);
}

TEST_F(WorkerServiceTest, TakesPictures) {
  Start({});
  v1::DecodeRequest request = TextRequest("a", 5);
  const engine::PromptImage picture = FakeImage(2, 1, 1, 7);
  v1::PromptImage& image = *request.mutable_prompt()->add_images();
  image.set_tiles(std::string(picture.tiles.begin(), picture.tiles.end()));
  image.set_tiles_across(1);
  image.set_tiles_down(1);
  image.set_first_token(2);
  image.set_num_tokens(static_cast<int32_t>(picture.num_tokens));
  image.set_identity(std::string(picture.identity.begin(), picture.identity.end()));
  engine::GenerationRequest same = AsEngineRequest(request);
  same.images = {picture};
  const Answer answer = Decode(request);
  EXPECT_EQ(answer.tokens, ExpectedAnswer(same));
  EXPECT_EQ(answer.finished.usage().image_tokens(), picture.num_tokens);
}

TEST_F(WorkerServiceTest, RefusesWhatIsWrongByName) {
  Start({});
  v1::DecodeRequest request = TextRequest("a", 5);
  request.clear_sampling();
  Answer answer = Decode(request);
  EXPECT_EQ(answer.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(rpc::FieldViolationsOf(answer.status).at(0).field, "sampling");

  request = TextRequest("a", 5);
  request.mutable_prompt()->set_token_ids(4, -7);
  answer = Decode(request);
  EXPECT_EQ(answer.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(answer.status.message()), HasSubstr("token_ids[4]"));

  request = TextRequest("a", 5);
  request.set_model_revision("other");
  EXPECT_EQ(Decode(request).status.code(), absl::StatusCode::kFailedPrecondition);

  request = TextRequest("a", 5);
  request.set_epoch(2);
  EXPECT_EQ(Decode(request).status.code(), absl::StatusCode::kFailedPrecondition);

  grpc::ClientContext without_deadline;
  answer = ReadAll(*stub_->Decode(&without_deadline, TextRequest("a", 5)));
  EXPECT_EQ(answer.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(answer.status.message()), HasSubstr("deadline"));
}

TEST_F(WorkerServiceTest, AFullQueueSaysWhenToTryAgain) {
  engine::EngineOptions options;
  options.max_batch_sequences = 1;
  options.max_queued_requests = 1;
  Start(options);
  gate_.lock();
  grpc::ClientContext context;
  SetDeadline(context);
  const auto reader = stub_->Decode(&context, TextRequest("first", 5));
  // It counts as queued until its first step has ended.
  while (model_->num_forwards == 0) std::this_thread::yield();
  const Answer refused = Decode(TextRequest("late", 5));
  EXPECT_EQ(refused.status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(rpc::RetryDelayOf(refused.status).has_value());
  gate_.unlock();
  EXPECT_EQ(ReadAll(*reader).status, absl::OkStatus());
}

TEST_F(WorkerServiceTest, ACancelledCallFreesItsSequence) {
  Start({}, {}, {97, 100'000});
  grpc::ClientContext context;
  SetDeadline(context);
  const auto reader = stub_->Decode(&context, TextRequest("a", 90'000));
  v1::DecodeResponse response;
  ASSERT_TRUE(reader->Read(&response));
  context.TryCancel();
  while (reader->Read(&response)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(WaitIdle());
  EXPECT_EQ(engine_->Snapshot().kv_blocks_used, 0);
}

TEST_F(WorkerServiceTest, ADeadlineEndsTheCallAndFreesTheSequence) {
  Start({}, {}, {97, 100'000});
  const Answer answer = Decode(TextRequest("a", 90'000), absl::Milliseconds(100));
  EXPECT_EQ(answer.status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(WaitIdle());
}

TEST_F(WorkerServiceTest, ACallerThatDoesNotReadLosesTheCall) {
  WorkerServiceOptions service_options;
  service_options.max_buffered_tokens = 16;
  Start({}, service_options, {97, 20'000});
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1024);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  const auto stub = v1::WorkerService::NewStub(
      grpc::CreateCustomChannel(server_->address(), grpc::InsecureChannelCredentials(), arguments));
  grpc::ClientContext context;
  SetDeadline(context);
  v1::DecodeRequest request = TextRequest("a", 15'000);
  request.mutable_sampling()->set_num_logprobs(20);
  const auto reader = stub->Decode(&context, request);
  v1::DecodeResponse response;
  ASSERT_TRUE(reader->Read(&response));
  // The engine is rid of it although the caller sits still.
  ASSERT_TRUE(WaitIdle());
  EXPECT_LT(engine_->Snapshot().generated_tokens, 15'000u);
  while (reader->Read(&response)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(WorkerServiceTest, WithoutTermsThereIsNoHandoff) {
  Start({});
  grpc::ClientContext contexts[2];
  for (grpc::ClientContext& context : contexts) SetDeadline(context);
  v1::PrefillResponse first;
  EXPECT_EQ(stub_->Prefill(&contexts[0], v1::PrefillRequest(), &first).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
  v1::OpenHandoffResponse opened;
  EXPECT_EQ(stub_->OpenHandoff(&contexts[1], v1::OpenHandoffRequest(), &opened).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(WorkerServiceTest, OneIdMayRunTwice) {
  // A retry after a broken stream does not wait for the end of its predecessor.
  Start({});
  gate_.lock();
  grpc::ClientContext contexts[2];
  SetDeadline(contexts[0]);
  SetDeadline(contexts[1]);
  const auto first = stub_->Decode(&contexts[0], TextRequest("a", 5));
  const auto second = stub_->Decode(&contexts[1], TextRequest("a", 5));
  gate_.unlock();
  EXPECT_EQ(ReadAll(*first).status, absl::OkStatus());
  EXPECT_EQ(ReadAll(*second).status, absl::OkStatus());
}

TEST_F(WorkerServiceTest, ADrainingEngineIsUnavailable) {
  Start({});
  ASSERT_EQ(engine_->Drain(absl::Now() + absl::Seconds(10)), absl::OkStatus());
  EXPECT_EQ(Decode(TextRequest("a", 5)).status.code(), absl::StatusCode::kUnavailable);
}

TEST_F(WorkerServiceTest, ManyCallsAtOnce) {
  Start({});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 20; ++i) {
        v1::DecodeRequest request = TextRequest(absl::StrCat(t, ".", i), 4 + i);
        request.mutable_prompt()->set_token_ids(0, 10 * t + i);
        const Answer answer = Decode(request);
        ASSERT_EQ(answer.status, absl::OkStatus());
        ASSERT_EQ(answer.tokens, ExpectedAnswer(AsEngineRequest(request)));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace tessera::worker
