// A whole loopback cluster in one process: the real gateway, the real router service, and fake
// workers that answer from a script.
#ifndef TESSERA_TESTS_SERVICES_GATEWAY_API_GATEWAY_FIXTURE_H_
#define TESSERA_TESTS_SERVICES_GATEWAY_API_GATEWAY_FIXTURE_H_

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "router/route_service.h"
#include "router/worker_registry.h"
#include "services/gateway/gateway_server.h"
#include "services/gateway/prompt/prompt.h"
#include "services/rpc/grpc_status.h"
#include "services/rpc/server.h"
#include "services/rpc/status_details.h"
#include "tessera/v1/inference.grpc.pb.h"
#include "tessera/v1/worker.grpc.pb.h"

namespace tessera::gateway {

inline const std::string kModelDir = std::string(TESSERA_FIXTURES) + "/golden/models/tiny_mha";

// Gives token `position` of the script, whatever the prompt is: as a true worker does when it is
// given the same prefix. As a prefill rank it gives one token, as a decode rank the others.
class FakeWorker final : public v1::WorkerService::Service {
 public:
  std::vector<int32_t> script;
  int64_t break_after = -1;          // the stream breaks after so many tokens of this call
  std::atomic<int> breaks{1 << 30};  // so many calls break
  grpc::Status break_status{grpc::StatusCode::UNAVAILABLE, "ipv4:10.1.2.3 gone"};
  std::atomic<bool> hang{
      false};            // sends the script without its end, then waits for the cancellation
  grpc::Status refusal;  // not OK: returned at once
  std::atomic<int> refusals{1 << 30};                                      // so many calls get it
  std::function<grpc::Status(const v1::PrefillRequest&)> prefill_refusal;  // if set, may return OK
  std::atomic<bool> hang_prefill{false};      // waits for the cancellation
  std::atomic<bool> omit_first_token{false};  // of Prefill's answer
  std::atomic<int> calls{0};                  // of Decode
  std::atomic<int> prefill_calls{0};
  std::atomic<int> cancelled{0};
  std::vector<v1::DecodeRequest> requests() {
    absl::MutexLock lock(&mutex_);
    return requests_;
  }
  std::vector<v1::PrefillRequest> prefills() {
    absl::MutexLock lock(&mutex_);
    return prefills_;
  }
  std::vector<std::string> released() {  // handoff ids
    absl::MutexLock lock(&mutex_);
    return released_;
  }

  static const v1::PreparedPrompt& PromptOf(const v1::DecodeRequest& request) {
    return request.has_handed_over() ? request.handed_over().prompt() : request.prompt();
  }
  // Of the first token to be given among the generated ones.
  static int64_t PositionOf(const v1::DecodeRequest& request) {
    return PromptOf(request).token_ids_size() - PromptOf(request).num_prompt_tokens();
  }

  grpc::Status Decode(grpc::ServerContext* context, const v1::DecodeRequest* request,
                      grpc::ServerWriter<v1::DecodeResponse>* writer) override {
    ++calls;
    {
      absl::MutexLock lock(&mutex_);
      requests_.push_back(*request);
    }
    if (!refusal.ok() && refusals.fetch_sub(1) > 0) return refusal;
    const int64_t begin = PositionOf(*request);
    const int64_t end = EndOf(*request);
    const bool may_break = break_after >= 0 && breaks.fetch_sub(1) > 0;
    for (int64_t position = begin; position < end; ++position) {
      if (may_break && position - begin >= break_after) return break_status;
      v1::DecodeResponse response;
      FillTokens(*request, position, *response.mutable_tokens());
      if (!writer->Write(response)) break;
    }
    while (hang && !context->IsCancelled()) absl::SleepFor(absl::Milliseconds(1));
    if (context->IsCancelled()) {
      ++cancelled;
      return grpc::Status::CANCELLED;
    }
    v1::DecodeResponse response;
    FillFinished(*request, *response.mutable_finished());
    writer->Write(response);
    return grpc::Status::OK;
  }

  grpc::Status Prefill(grpc::ServerContext* context, const v1::PrefillRequest* request,
                       v1::PrefillResponse* response) override {
    ++prefill_calls;
    {
      absl::MutexLock lock(&mutex_);
      prefills_.push_back(*request);
    }
    if (prefill_refusal) {
      if (const grpc::Status status = prefill_refusal(*request); !status.ok()) return status;
    }
    while (hang_prefill && !context->IsCancelled()) absl::SleepFor(absl::Milliseconds(1));
    if (context->IsCancelled()) {
      ++cancelled;
      return grpc::Status::CANCELLED;
    }
    const int64_t position = PositionOf(request->request());
    if (!omit_first_token) {
      FillTokens(request->request(), position, *response->mutable_tokens());
    }
    if (position + 1 == EndOf(request->request())) {
      FillFinished(request->request(), *response->mutable_finished());
    }
    response->set_cached_tokens(3);
    response->set_handoff_bytes(1000);
    response->set_handoff_tail_us(500);
    return grpc::Status::OK;
  }

  grpc::Status ReleaseHandoff(grpc::ServerContext*, const v1::ReleaseHandoffRequest* request,
                              v1::ReleaseHandoffResponse*) override {
    absl::MutexLock lock(&mutex_);
    released_.push_back(request->handoff_id());
    return grpc::Status::OK;
  }

 private:
  int64_t EndOf(const v1::DecodeRequest& request) const {
    return std::min<int64_t>(static_cast<int64_t>(script.size()), request.sampling().max_tokens());
  }
  void FillTokens(const v1::DecodeRequest& request, int64_t position, v1::DecodedTokens& tokens) {
    tokens.set_first_position(static_cast<int32_t>(position));
    tokens.add_token_ids(script[static_cast<size_t>(position)]);
    if (request.sampling().num_logprobs() < 0) return;
    v1::DecodedLogprobs& logprobs = *tokens.add_logprobs();
    logprobs.set_logprob(-0.5f);
    for (int32_t k = 0; k < request.sampling().num_logprobs(); ++k) {
      logprobs.add_top_ids(100 + k);
      logprobs.add_top_logprobs(-1.0f - static_cast<float>(k));
    }
  }
  void FillFinished(const v1::DecodeRequest& request, v1::DecodeFinished& finished) const {
    const bool length = EndOf(request) < static_cast<int64_t>(script.size());
    finished.set_reason(length ? v1::FINISH_REASON_LENGTH : v1::FINISH_REASON_STOP);
    finished.mutable_usage()->set_cached_tokens(2);
  }

  absl::Mutex mutex_;
  std::vector<v1::DecodeRequest> requests_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::PrefillRequest> prefills_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> released_ ABSL_GUARDED_BY(mutex_);
};

// What a client got.
struct Answer {
  grpc::Status status;
  std::string request_id;  // of the initial metadata
  v1::Started started;
  std::vector<std::string> texts = std::vector<std::string>(8);  // by choice
  std::vector<std::vector<int32_t>> ids = std::vector<std::vector<int32_t>>(8);
  std::vector<v1::TokenLogprobs> logprobs;
  std::vector<v1::Box> boxes;
  std::vector<v1::Finished> finished;
  std::vector<int32_t> finished_choices;
  v1::Usage usage;
  bool usage_was_last = false;
};

class GatewayTest : public ::testing::Test {
 protected:
  static prompt::PromptProcessor& Processor() {
    static auto& processor = *prompt::PromptProcessor::Load(kModelDir).value().release();
    return processor;
  }
  static std::vector<int32_t> Encode(const std::string& text) {
    return Processor().tokenizer().Encode(text, prompt::AddedTokens::kAll).value();
  }
  static int32_t Eos() { return Processor().tokenizer().special().eos; }
  static std::vector<int32_t> Script(const std::string& text) {
    std::vector<int32_t> ids = Encode(text);
    ids.push_back(Eos());
    return ids;
  }

  void SetUp() override {
    route_service_ = router::MakeRouteService(
        registry_, {absl::Hours(1), absl::Seconds(1), policy_}, router_metrics_);
    rpc::ServerOptions options;
    options.listen = "127.0.0.1:0";
    router_ = rpc::Server::Start(options, {route_service_.get()}).value();
    config_.model.path = kModelDir;
    config_.gateway.listen = "127.0.0.1:0";
    config_.gateway.router_address = router_->address();
    dispatch_.placement_patience = absl::Milliseconds(20);
    dispatch_.recovery_patience = absl::Seconds(20);
    dispatch_.first_backoff = absl::Milliseconds(5);
    dispatch_.max_backoff = absl::Milliseconds(20);
  }
  void StartGateway() {
    auto gateway = GatewayServer::Start(config_, dispatch_);
    ASSERT_TRUE(gateway.ok()) << gateway.status();
    gateway_ = *std::move(gateway);
    stub_ = v1::InferenceService::NewStub(
        grpc::CreateChannel(gateway_->address(), grpc::InsecureChannelCredentials()));
  }
  FakeWorker& NewWorker() { return fakes_.emplace_back(); }
  void AddWorker(const std::string& id, FakeWorker& worker,
                 const std::string& numerics = "f32/test",
                 router::WorkerRole role = router::WorkerRole::kBoth) {
    rpc::ServerOptions options;
    options.listen = "127.0.0.1:0";
    workers_.push_back(rpc::Server::Start(options, {&worker}).value());
    Register(id, workers_.back()->address(), numerics, role);
  }
  void AddPrefill(const std::string& id, FakeWorker& worker) {
    AddWorker(id, worker, "f32/test", router::WorkerRole::kPrefill);
  }
  void AddDecode(const std::string& id, FakeWorker& worker) {
    AddWorker(id, worker, "f32/test", router::WorkerRole::kDecode);
  }
  void Register(const std::string& id, const std::string& address,
                const std::string& numerics = "f32/test",
                router::WorkerRole role = router::WorkerRole::kBoth) {
    router::WorkerDescription description;
    description.role = role;
    description.id = WorkerId(id);
    description.address = address;
    description.model_revision = HexString(Processor().model_revision());
    description.model_name = "tiny";
    description.context_tokens = 4096;
    description.kv_block_size_tokens = 16;
    description.numerics = numerics;
    ASSERT_TRUE(registry_.Register(description, {}).ok());
  }

  static v1::GenerateRequest Ask(const std::string& text) {
    v1::GenerateRequest request;
    v1::Message& message = *request.add_messages();
    message.set_role(v1::ROLE_USER);
    message.add_content()->set_text(text);
    return request;
  }
  Answer Generate(const v1::GenerateRequest& request, absl::Duration timeout = absl::Seconds(20)) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    return Read(context, request);
  }
  Answer Read(grpc::ClientContext& context, const v1::GenerateRequest& request) {
    Answer answer;
    auto reader = stub_->Generate(&context, request);
    v1::GenerateResponse event;
    while (reader->Read(&event)) {
      const auto choice = static_cast<size_t>(event.choice());
      answer.usage_was_last = event.has_usage();
      if (event.has_started()) answer.started = event.started();
      if (event.has_text()) {
        answer.texts[choice] += event.text().text();
        answer.ids[choice].insert(answer.ids[choice].end(), event.text().token_ids().begin(),
                                  event.text().token_ids().end());
        answer.logprobs.insert(answer.logprobs.end(), event.text().logprobs().begin(),
                               event.text().logprobs().end());
      }
      if (event.has_box()) answer.boxes.push_back(event.box());
      if (event.has_finished()) {
        answer.finished.push_back(event.finished());
        answer.finished_choices.push_back(event.choice());
      }
      if (event.has_usage()) answer.usage = event.usage();
    }
    answer.status = reader->Finish();
    const auto& metadata = context.GetServerInitialMetadata();
    if (const auto found = metadata.find("x-request-id"); found != metadata.end()) {
      answer.request_id = std::string(found->second.data(), found->second.size());
    }
    return answer;
  }
  // Nothing is left of any call, here and at the workers.
  void ExpectNothingLeaks() {
    const absl::Time give_up = absl::Now() + absl::Seconds(10);
    while ((gateway_->in_flight() > 0 || gateway_->active_sequences() > 0) && absl::Now() < give_up)
      absl::SleepFor(absl::Milliseconds(1));
    EXPECT_EQ(gateway_->in_flight(), 0);
    EXPECT_EQ(gateway_->active_sequences(), 0);
  }

  router::Policy policy_ = &router::ChooseRoundRobin;  // before SetUp
  router::WorkerRegistry registry_{absl::Hours(1), Clock::Real()};
  telemetry::Metrics router_metrics_{telemetry::Component::kRouter};
  std::unique_ptr<grpc::Service> route_service_;
  std::unique_ptr<rpc::Server> router_;
  config::ClusterConfig config_;
  DispatchOptions dispatch_;
  std::deque<FakeWorker> fakes_;  // outlive their servers, which end their calls
  std::vector<std::unique_ptr<rpc::Server>> workers_;
  std::unique_ptr<GatewayServer> gateway_;
  std::unique_ptr<v1::InferenceService::Stub> stub_;
};

}  // namespace tessera::gateway

#endif  // TESSERA_TESTS_SERVICES_GATEWAY_API_GATEWAY_FIXTURE_H_
