// Whole workers of one group as threads of this process, with the router's own services and real
// transports: what they answer is what one worker answers, also when one of them dies.
#include <grpcpp/channel.h>
#include <grpcpp/impl/codegen/service_type.h>
#include <poll.h>
#include <unistd.h>

#include <future>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/thread_pool.h"
#include "router/group/group_service.h"
#include "router/route_service.h"
#include "router/worker_registry.h"
#include "services/base/check.h"
#include "services/rpc/channel.h"
#include "services/rpc/grpc_status.h"
#include "services/rpc/server.h"
#include "services/telemetry/metrics.h"
#include "tessera/v1/worker.grpc.pb.h"
#include "worker/service/model_revision.h"
#include "worker/service/worker_process.h"
#include "worker/service/worker_setup.h"

namespace tessera::worker {
namespace {

constexpr char kModelDir[] = TESSERA_FIXTURES "/golden/models/tiny_mha";
constexpr absl::Duration kPatience = absl::Seconds(60);

class TestRouter {
 public:
  TestRouter() {
    service_ = router::MakeRouteService(
        registry_,
        {absl::Seconds(30), absl::Milliseconds(50), *router::PolicyByName("least_tokens")},
        metrics_);
    router::GroupServiceOptions options;
    options.table = {absl::Seconds(30), absl::Seconds(2), absl::Seconds(30)};
    groups_ = router::GroupService::Create(options, Clock::Real(), metrics_);
    rpc::ServerOptions server;
    server.listen = "127.0.0.1:0";
    auto started = rpc::Server::Start(server, {service_.get(), &groups_->service()});
    TESSERA_CHECK(started.ok()) << started.status().ToString();
    server_ = *std::move(started);
  }
  ~TestRouter() {
    groups_->Stop();
    server_.reset();
  }
  const std::string& address() const { return server_->address(); }

 private:
  telemetry::Metrics metrics_{telemetry::Component::kRouter};
  router::WorkerRegistry registry_{absl::Seconds(30), Clock::Real()};
  std::unique_ptr<grpc::Service> service_;
  std::unique_ptr<router::GroupService> groups_;
  std::unique_ptr<rpc::Server> server_;
};

// One worker with a model of its own.
class Worker {
 public:
  Worker(const std::string& id, const std::string& router, const config::GroupSettings& group,
         const std::string& role = "both") {
    EXPECT_EQ(pipe(ready_), 0);
    config_.model.path = kModelDir;
    config_.worker.id = id;
    config_.worker.router_address = router;
    config_.worker.role = role;
    config_.worker.group = group;
    config_.worker.kv_cache_bytes = 8 << 20;
    config_.worker.kv_block_size_tokens = 4;
    config_.worker.prefill_chunk_tokens = 16;
    config_.worker.step_timeout = absl::Seconds(20);
    Start();
  }
  ~Worker() {
    Kill();
    close(ready_[0]);
  }

  void Kill() { process_.reset(); }
  void Drain() {
    process_->Drain(absl::Now() + absl::Seconds(20), [](absl::Duration timeout) {
      absl::SleepFor(timeout);
      return false;
    });
  }

  // The address, once the worker says that it serves.
  const std::string& WaitReady() {
    if (!address_.empty()) return address_;
    pollfd entry{ready_[0], POLLIN, 0};
    EXPECT_EQ(poll(&entry, 1, static_cast<int>(absl::ToInt64Milliseconds(kPatience))), 1);
    std::string line(256, '\0');
    line.resize(static_cast<size_t>(std::max<ssize_t>(0, read(ready_[0], line.data(), 256))));
    const size_t start = line.find("127.0.0.1");
    address_ = line.substr(start, line.find('"', start) - start);
    stub_ = v1::WorkerService::NewStub(rpc::MakeChannel(address_));
    return address_;
  }
  v1::WorkerService::Stub& stub() { return *stub_; }

 private:
  void Start() {
    const kernels::KernelTable& table = **FindKernels("auto");
    model::LoadOptions load;
    load.table = &table;
    load.pool = &pool_;
    const WorkerIdentity identity = *Identify(config_, table);
    absl::StatusOr<std::unique_ptr<WorkerProcess>> process;
    if (config_.worker.group.name.empty()) {
      model_ = *model::VlModel::Load(kModelDir, load);
      process = StartSingle(config_, identity, *model_, ready_[1]);
    } else {
      const auto spec = ShardOf(*model::ReadModelConfig(kModelDir), config_.worker.group);
      shard_ = *model::ModelShard::Load(kModelDir, load, *spec);
      process = (config_.worker.group.stage == 0 ? StartLead : StartFollower)(config_, identity,
                                                                              *shard_, ready_[1]);
    }
    TESSERA_CHECK(process.ok()) << process.status().ToString();
    process_ = *std::move(process);
  }

  config::ClusterConfig config_;
  kernels::ThreadPool pool_{1};
  int ready_[2];
  std::unique_ptr<model::VlModel> model_;
  std::unique_ptr<model::ModelShard> shard_;
  std::unique_ptr<WorkerProcess> process_;
  std::string address_;
  std::unique_ptr<v1::WorkerService::Stub> stub_;
};

v1::DecodeRequest Request(int salt, int prompt_tokens, int max_tokens) {
  v1::DecodeRequest request;
  request.set_request_id(absl::StrCat("r", salt));
  request.set_model_revision(HexString(*ModelRevision(kModelDir)));
  request.set_epoch(uint64_t{1} << 60);
  for (int i = 0; i < prompt_tokens; ++i) {
    request.mutable_prompt()->add_token_ids(2 + (salt * 31 + i * 7) % 90);
  }
  request.mutable_prompt()->set_num_prompt_tokens(prompt_tokens);
  v1::DecodeSampling& sampling = *request.mutable_sampling();
  sampling.set_max_tokens(max_tokens);
  sampling.set_top_p(1);
  sampling.set_repetition_penalty(1);
  sampling.set_num_logprobs(2);
  sampling.set_ignore_eos(true);
  return request;
}

struct Answer {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  absl::Status status;
  void Add(const v1::DecodedTokens& more) {
    tokens.insert(tokens.end(), more.token_ids().begin(), more.token_ids().end());
    for (const auto& entry : more.logprobs()) {
      logprobs.insert(logprobs.end(), entry.top_logprobs().begin(), entry.top_logprobs().end());
    }
  }
};

// after_tokens: called once, when so many tokens have come.
Answer Decode(Worker& worker, const v1::DecodeRequest& request, size_t after_tokens = ~size_t{0},
              const std::function<void()>& then = nullptr) {
  grpc::ClientContext context;
  context.set_deadline(rpc::ToChrono(absl::Now() + kPatience));
  const auto reader = worker.stub().Decode(&context, request);
  Answer answer;
  v1::DecodeResponse response;
  bool called = false;
  while (reader->Read(&response)) {
    if (response.has_tokens()) answer.Add(response.tokens());
    if (!called && answer.tokens.size() >= after_tokens) {
      called = true;
      then();
    }
  }
  answer.status = rpc::FromGrpcStatus(reader->Finish());
  return answer;
}

void ExpectSame(const Answer& answer, const Answer& expected) {
  EXPECT_EQ(answer.status, absl::OkStatus());
  EXPECT_EQ(answer.tokens, expected.tokens);
  EXPECT_EQ(answer.logprobs, expected.logprobs);  // to the bit
}

class GroupWorkersTest : public ::testing::Test {
 protected:
  Answer Expected(const v1::DecodeRequest& request) {
    if (!whole_) {
      whole_ = std::make_unique<Worker>("whole", router_.address(), config::GroupSettings{});
      whole_->WaitReady();
    }
    return Decode(*whole_, request);
  }

  TestRouter router_;
  std::unique_ptr<Worker> whole_;
};

TEST_F(GroupWorkersTest, TwoExpertRanksAnswerAsOneAndGoOnWhenOneDies) {
  Worker a("a", router_.address(), {"g", 1, 2, 0, 0});
  auto b = std::make_unique<Worker>("b", router_.address(), config::GroupSettings{"g", 1, 2, 0, 1});
  a.WaitReady();
  b->WaitReady();
  auto of_b = std::async(std::launch::async, [&] { return Decode(*b, Request(2, 29, 10)); });
  const Answer of_a = Decode(a, Request(1, 41, 10));
  ExpectSame(of_a, Expected(Request(1, 41, 10)));
  ExpectSame(of_b.get(), Expected(Request(2, 29, 10)));

  // After a pause both sleep; a request on one wakes the other.
  ExpectSame(Decode(a, Request(3, 10, 5)), Expected(Request(3, 10, 5)));

  const Answer across = Decode(a, Request(4, 20, 200), 5, [&] { b.reset(); });
  ExpectSame(across, Expected(Request(4, 20, 200)));

  // It comes back, and both serve again.
  b = std::make_unique<Worker>("b", router_.address(), config::GroupSettings{"g", 1, 2, 0, 1});
  b->WaitReady();
  ExpectSame(Decode(*b, Request(5, 12, 6)), Expected(Request(5, 12, 6)));
  ExpectSame(Decode(a, Request(5, 12, 6)), Expected(Request(5, 12, 6)));
}

TEST_F(GroupWorkersTest, AnIdleGroupReformsToo) {
  Worker a("a", router_.address(), {"g", 1, 2, 0, 0});
  auto b = std::make_unique<Worker>("b", router_.address(), config::GroupSettings{"g", 1, 2, 0, 1});
  a.WaitReady();
  b->WaitReady();
  b->Drain();
  b.reset();
  ExpectSame(Decode(a, Request(1, 10, 5)), Expected(Request(1, 10, 5)));
}

TEST_F(GroupWorkersTest, TwoStagesAnswerAsOneAndTakeKvOver) {
  Worker lead("lead", router_.address(), {"g", 2, 1, 0, 0}, "decode");
  Worker follower("follower", router_.address(), {"g", 2, 1, 1, 0}, "decode");
  lead.WaitReady();
  follower.WaitReady();
  const v1::DecodeRequest request = Request(1, 45, 12);
  const Answer expected = Expected(request);
  ExpectSame(Decode(lead, request), expected);
  EXPECT_EQ(Decode(follower, request).status.code(), absl::StatusCode::kFailedPrecondition);

  const v1::DecodeRequest other = Request(2, 45, 12);
  Worker prefill("prefill", router_.address(), {}, "prefill");
  prefill.WaitReady();
  grpc::ClientContext context;
  context.set_deadline(rpc::ToChrono(absl::Now() + kPatience));
  v1::PrefillRequest call;
  *call.mutable_request() = other;
  call.set_decode_address(lead.WaitReady());
  call.set_handoff_id("h");
  v1::PrefillResponse first;
  ASSERT_EQ(rpc::FromGrpcStatus(prefill.stub().Prefill(&context, call, &first)), absl::OkStatus());
  v1::DecodeRequest next = other;
  const v1::PreparedPrompt prompt = other.prompt();
  next.mutable_handed_over()->set_handoff_id("h");
  *next.mutable_handed_over()->mutable_prompt() = prompt;
  next.mutable_handed_over()->mutable_prompt()->mutable_token_ids()->MergeFrom(
      first.tokens().token_ids());
  Answer split;
  split.Add(first.tokens());
  const Answer rest = Decode(lead, next);
  split.tokens.insert(split.tokens.end(), rest.tokens.begin(), rest.tokens.end());
  split.logprobs.insert(split.logprobs.end(), rest.logprobs.begin(), rest.logprobs.end());
  split.status = rest.status;
  ExpectSame(split, Expected(other));
}

}  // namespace
}  // namespace tessera::worker
