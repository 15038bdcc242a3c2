// A prompt computed by one worker and continued by another: two engines, two services, loopback.
#include "worker/service/handoff.h"

#include <grpcpp/channel.h>
#include <grpcpp/impl/codegen/service_type.h>

#include <chrono>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/thread_pool.h"
#include "services/rpc/channel.h"
#include "services/rpc/grpc_status.h"
#include "services/rpc/server.h"
#include "services/rpc/status_details.h"
#include "tests/worker/engine/fake_model.h"
#include "worker/service/worker_service.h"

namespace tessera::worker {
namespace {

using engine::testing::FakeModel;
using ::testing::HasSubstr;

constexpr int64_t kBlockSize = 4;

v1::DecodeRequest TextRequest(const std::string& id, int prompt_tokens, int max_tokens) {
  v1::DecodeRequest request;
  request.set_request_id(id);
  request.set_model_revision("revision");
  request.set_epoch(3);
  for (int i = 0; i < prompt_tokens; ++i) request.mutable_prompt()->add_token_ids(2 + i % 90);
  request.mutable_prompt()->set_num_prompt_tokens(prompt_tokens);
  v1::DecodeSampling& sampling = *request.mutable_sampling();
  sampling.set_max_tokens(max_tokens);
  sampling.set_top_p(1);
  sampling.set_repetition_penalty(1);
  sampling.set_num_logprobs(2);
  return request;
}

void SetDeadline(grpc::ClientContext& context, absl::Duration timeout = absl::Seconds(60)) {
  context.set_deadline(rpc::ToChrono(absl::Now() + timeout));
}

struct Answer {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  absl::Status status;

  void Add(const v1::DecodedTokens& more) {
    tokens.insert(tokens.end(), more.token_ids().begin(), more.token_ids().end());
    for (const auto& entry : more.logprobs()) {
      logprobs.push_back(entry.logprob());
      logprobs.insert(logprobs.end(), entry.top_logprobs().begin(), entry.top_logprobs().end());
    }
  }
};

// One worker: its model, engine, service and listener.
class Node {
 public:
  Node(model::VlModel& model, absl::Duration lease = absl::Seconds(30),
       const std::string& numerics = "f32/test") {
    engine::EngineOptions options;
    options.kv_block_size_tokens = kBlockSize;
    options.kv_cache_bytes = 4 << 20;
    options.prefill_chunk_tokens = 16;
    auto created = engine::Engine::Create(model, options);
    EXPECT_TRUE(created.ok()) << created.status();
    engine = *std::move(created);
    engine->Start();
    WorkerServiceOptions service;
    service.model_revision = "revision";
    service.epoch = [] { return uint64_t{3}; };
    service.handoff.emplace();
    const model::KvLayout layout = model.kv_layout();
    service.handoff->terms = {"revision", numerics, layout.dtype, layout.row_elements,
                              layout.num_layers};
    service.handoff->block_size_tokens = kBlockSize;
    service.handoff->lease = lease;
    service.handoff->column = [this, layers = layout.num_layers] {
      return std::vector<ColumnRank>{{server->address(), 0, layers}};
    };
    service_ = MakeWorkerService(*engine, peers_, std::move(service));
    rpc::ServerOptions server_options;
    server_options.listen = "127.0.0.1:0";
    auto started = rpc::Server::Start(server_options, {service_.get()});
    EXPECT_TRUE(started.ok()) << started.status();
    server = *std::move(started);
    stub = v1::WorkerService::NewStub(rpc::MakeChannel(server->address()));
  }
  ~Node() { server.reset(); }

  Answer Decode(const v1::DecodeRequest& request) {
    grpc::ClientContext context;
    SetDeadline(context);
    const auto reader = stub->Decode(&context, request);
    Answer answer;
    v1::DecodeResponse response;
    while (reader->Read(&response)) {
      if (response.has_tokens()) answer.Add(response.tokens());
    }
    answer.status = rpc::FromGrpcStatus(reader->Finish());
    return answer;
  }

  absl::Status Prefill(const v1::DecodeRequest& request, const std::string& decode_address,
                       const std::string& handoff_id, v1::PrefillResponse* response) {
    grpc::ClientContext context;
    SetDeadline(context);
    v1::PrefillRequest call;
    *call.mutable_request() = request;
    call.set_decode_address(decode_address);
    call.set_handoff_id(handoff_id);
    return rpc::FromGrpcStatus(stub->Prefill(&context, call, response));
  }

  bool WaitUntil(const std::function<bool(const engine::EngineSnapshot&)>& done) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!done(engine->Snapshot())) {
      if (std::chrono::steady_clock::now() > limit) return false;
      std::this_thread::yield();
    }
    return true;
  }

  PeerCalls peers_;
  std::unique_ptr<engine::Engine> engine;
  std::unique_ptr<grpc::Service> service_;
  std::unique_ptr<rpc::Server> server;
  std::unique_ptr<v1::WorkerService::Stub> stub;
};

// The request for the decode side after the first token.
v1::DecodeRequest Continued(const v1::DecodeRequest& request, const std::string& handoff_id,
                            const v1::PrefillResponse& first) {
  v1::DecodeRequest next = request;
  v1::PreparedPrompt prompt = request.prompt();
  for (v1::PromptImage& image : *prompt.mutable_images()) image.clear_tiles();
  prompt.mutable_token_ids()->MergeFrom(first.tokens().token_ids());
  next.mutable_handed_over()->set_handoff_id(handoff_id);
  *next.mutable_handed_over()->mutable_prompt() = std::move(prompt);
  return next;
}

Answer HandOver(Node& prefill, Node& decode, const v1::DecodeRequest& request,
                const std::string& handoff_id, v1::PrefillResponse* first) {
  Answer answer;
  answer.status = prefill.Prefill(request, decode.server->address(), handoff_id, first);
  if (!answer.status.ok()) return answer;
  answer.Add(first->tokens());
  const Answer rest = decode.Decode(Continued(request, handoff_id, *first));
  answer.tokens.insert(answer.tokens.end(), rest.tokens.begin(), rest.tokens.end());
  answer.logprobs.insert(answer.logprobs.end(), rest.logprobs.begin(), rest.logprobs.end());
  answer.status = rest.status;
  return answer;
}

TEST(Handoff, ASplitAnswerIsTheWholeOne) {
  FakeModel prefill_model, decode_model;
  Node prefill(prefill_model), decode(decode_model);
  const v1::DecodeRequest request = TextRequest("a", 37, 12);  // the last block is partial
  v1::PrefillResponse first;
  const Answer split = HandOver(prefill, decode, request, "h1", &first);
  ASSERT_EQ(split.status, absl::OkStatus());
  EXPECT_EQ(first.tokens().token_ids_size(), 1);
  EXPECT_FALSE(first.has_finished());
  EXPECT_EQ(first.handoff_bytes(), 37 * 2 * 2 * 4);  // tokens, layers, elements, bytes
  EXPECT_EQ(decode.engine->Snapshot().kv_leases.adopted, 1u);

  FakeModel whole_model;
  Node whole(whole_model);
  const Answer expected = whole.Decode(request);
  ASSERT_EQ(expected.status, absl::OkStatus());
  EXPECT_EQ(split.tokens, expected.tokens);
  EXPECT_EQ(split.logprobs, expected.logprobs);

  // The decode rank knows the prompt's full blocks now: they are not sent again.
  v1::PrefillResponse again;
  const Answer second = HandOver(prefill, decode, request, "h2", &again);
  EXPECT_EQ(second.tokens, expected.tokens);
  EXPECT_EQ(again.handoff_bytes(), 1 * 2 * 2 * 4);
  EXPECT_EQ(again.cached_tokens(), 36);
}

TEST(Handoff, GoldenModelsKeepTheirBits) {
  kernels::ThreadPool pools[3] = {kernels::ThreadPool(1), kernels::ThreadPool(1),
                                  kernels::ThreadPool(1)};
  for (const char* name : {"tiny_mha", "small_mla"}) {
    std::unique_ptr<model::VlModel> models[3];
    for (int i = 0; i < 3; ++i) {
      model::LoadOptions load;
      load.table = kernels::KernelsByName("auto");
      load.pool = &pools[i];
      auto loaded =
          model::VlModel::Load(absl::StrCat(TESSERA_FIXTURES, "/golden/models/", name), load);
      ASSERT_TRUE(loaded.ok()) << loaded.status();
      models[i] = *std::move(loaded);
    }
    Node prefill(*models[0]), decode(*models[1]), whole(*models[2]);
    const v1::DecodeRequest request = TextRequest("a", 45, 8);
    v1::PrefillResponse first;
    const Answer split = HandOver(prefill, decode, request, "h", &first);
    ASSERT_EQ(split.status, absl::OkStatus());
    const Answer expected = whole.Decode(request);
    EXPECT_EQ(split.tokens, expected.tokens) << name;
    EXPECT_EQ(split.logprobs, expected.logprobs) << name;  // to the bit
  }
}

TEST(Handoff, AnAnswerThatEndsWithItsFirstTokenGivesTheLeaseBack) {
  FakeModel prefill_model, decode_model;
  Node prefill(prefill_model), decode(decode_model);
  v1::PrefillResponse first;
  ASSERT_EQ(prefill.Prefill(TextRequest("a", 9, 1), decode.server->address(), "h", &first),
            absl::OkStatus());
  EXPECT_EQ(first.finished().reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(first.finished().usage().completion_tokens(), 1);
  EXPECT_TRUE(decode.WaitUntil([](const auto& s) { return s.kv_leases.released == 1; }));
  EXPECT_TRUE(decode.WaitUntil([](const auto& s) { return s.kv_blocks_used == 0; }));
}

TEST(Handoff, ALeaseThatNobodyTakesIsReclaimed) {
  FakeModel prefill_model, decode_model;
  Node prefill(prefill_model, absl::Milliseconds(200)), decode(decode_model);
  const v1::DecodeRequest request = TextRequest("a", 9, 5);
  v1::PrefillResponse first;
  ASSERT_EQ(prefill.Prefill(request, decode.server->address(), "h", &first), absl::OkStatus());
  EXPECT_TRUE(decode.WaitUntil([](const auto& s) { return s.kv_leases.reclaimed == 1; }));
  EXPECT_TRUE(decode.WaitUntil([](const auto& s) { return s.kv_blocks_used == 0; }));
  EXPECT_EQ(decode.Decode(Continued(request, "h", first)).status.code(),
            absl::StatusCode::kNotFound);
}

TEST(Handoff, WhatDiffersIsNamed) {
  FakeModel prefill_model, decode_model;
  Node prefill(prefill_model), decode(decode_model, absl::Seconds(30), "bf16/test");
  v1::PrefillResponse first;
  v1::DecodeRequest request = TextRequest("a", 9, 5);
  absl::Status status = prefill.Prefill(request, decode.server->address(), "h", &first);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("numerics f32/test"));

  request.set_model_revision("other");
  status = prefill.Prefill(request, decode.server->address(), "h", &first);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(decode.engine->Snapshot().kv_leases.granted, 0u);

  request = TextRequest("a", 9, 5);
  status = prefill.Prefill(request, decode.server->address(), "", &first);
  EXPECT_EQ(rpc::FieldViolationsOf(status).at(0).field, "handoff_id");
}

TEST(Handoff, ADeadDecodeRankIsNamedAsTheCause) {
  FakeModel prefill_model;
  Node prefill(prefill_model);
  v1::PrefillResponse first;
  const absl::Status status = prefill.Prefill(TextRequest("a", 9, 5), "127.0.0.1:1", "h", &first);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(rpc::ReasonOf(status), kDecodeRankUnavailable);
}

TEST(Handoff, ADecodeRankThatDiesMeanwhileIsNamedAsTheCause) {
  FakeModel prefill_model, decode_model;
  Node prefill(prefill_model);
  auto decode = std::make_unique<Node>(decode_model);
  prefill_model.before_forward = [&](auto) {
    if (decode) {
      decode->server->Drain(absl::Now());
      decode.reset();
    }
    return absl::OkStatus();
  };
  v1::PrefillResponse first;
  const absl::Status status =
      prefill.Prefill(TextRequest("a", 40, 5), decode->server->address(), "h", &first);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(rpc::ReasonOf(status), kDecodeRankUnavailable);
  EXPECT_TRUE(prefill.WaitUntil([](const auto& s) { return s.kv_blocks_used == 0; }));
}

TEST(Handoff, ACancelledPrefillFreesBothSides) {
  FakeModel prefill_model, decode_model;
  Node prefill(prefill_model), decode(decode_model);
  grpc::ClientContext context;
  SetDeadline(context);
  std::atomic<bool> once{true};
  prefill_model.before_forward = [&](auto) {
    if (once.exchange(false)) context.TryCancel();
    return absl::OkStatus();
  };
  v1::PrefillRequest call;
  *call.mutable_request() = TextRequest("a", 200, 5);
  call.set_decode_address(decode.server->address());
  call.set_handoff_id("h");
  v1::PrefillResponse response;
  EXPECT_EQ(prefill.stub->Prefill(&context, call, &response).error_code(),
            grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(prefill.WaitUntil([](const auto& s) { return s.kv_blocks_used == 0; }));
  EXPECT_TRUE(decode.WaitUntil([](const auto& s) { return s.kv_blocks_used == 0; }));
  EXPECT_EQ(decode.engine->Snapshot().kv_leases.adopted, 0u);
}

TEST(Handoff, RowsWithoutALeaseAreRefused) {
  FakeModel model;
  Node decode(model);
  grpc::ClientContext context;
  SetDeadline(context);
  v1::PushKvResponse response;
  const auto writer = decode.stub->PushKv(&context, &response);
  v1::PushKvRequest message;
  message.set_handoff_id("nobody's");
  message.set_rows(std::string(8, 'x'));
  writer->Write(message);
  writer->WritesDone();
  EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST(SendBudget, IsOneForAll) {
  SendBudget budget(10);
  EXPECT_TRUE(budget.Take(6));
  EXPECT_FALSE(budget.Take(5));
  EXPECT_TRUE(budget.Take(4));
  budget.Return(6);
  EXPECT_TRUE(budget.Take(6));
}

}  // namespace
}  // namespace tessera::worker
