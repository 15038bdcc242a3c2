#include "worker/service/run_worker.h"

#include <grpcpp/channel.h>
#include <grpcpp/impl/codegen/service_type.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <future>
#include <mutex>
#include <string>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "services/rpc/channel.h"
#include "tessera/v1/worker.grpc.pb.h"
#include "tests/worker/engine/fake_model.h"
#include "tests/worker/service/fake_router.h"
#include "worker/service/model_revision.h"

namespace tessera::worker {
namespace {

using engine::testing::FakeModel;
using testing::FakeRouter;
using ::testing::HasSubstr;

constexpr char kModelDir[] = TESSERA_FIXTURES "/golden/models/tiny_mha";

class RunWorkerTest : public ::testing::Test {
 protected:
  RunWorkerTest() {
    EXPECT_EQ(pipe(ready_pipe_), 0);
    config_.model.path = kModelDir;
    config_.worker.id = "w1";
    config_.worker.threads = 1;
    config_.worker.kv_cache_bytes = 1 << 20;
    config_.worker.router_address = router_.address();
    hooks_.load_model =
        [this](
            const model::LoadOptions& options) -> absl::StatusOr<std::unique_ptr<model::VlModel>> {
      options.progress(5, 10);
      auto model =
          std::make_unique<FakeModel>(engine::testing::FakeModelOptions{97, context_tokens_});
      model->before_forward = [this](auto) {
        std::lock_guard wait(gate_);
        return absl::OkStatus();
      };
      return model;
    };
    hooks_.wait_for_stop = [this](absl::Duration timeout) {
      std::unique_lock lock(stop_mutex_);
      const bool told = stop_changed_.wait_for(lock, absl::ToChronoNanoseconds(timeout),
                                               [this] { return stops_ > 0; });
      if (told) --stops_;
      return told;
    };
  }
  ~RunWorkerTest() override { close(ready_pipe_[0]); }

  void Start() {
    done_ = std::async(std::launch::async,
                       [this] { return RunWorkerWith(config_, ready_pipe_[1], hooks_); });
  }
  void Stop() {
    {
      std::lock_guard lock(stop_mutex_);
      ++stops_;
    }
    stop_changed_.notify_all();
  }
  // The next line from the worker; empty at the end.
  std::string ReadLine() {
    std::string line;
    char c;
    while (read(ready_pipe_[0], &c, 1) == 1 && c != '\n') line += c;
    return line;
  }
  // Reads up to the ready line and connects.
  void WaitReady() {
    EXPECT_EQ(nlohmann::json::parse(ReadLine())["loaded_bytes"], 5);
    address_ = nlohmann::json::parse(ReadLine())["address"];
    channel_ = rpc::MakeChannel(address_);
    stub_ = v1::WorkerService::NewStub(channel_);
  }
  v1::DecodeRequest Request(int max_tokens) {
    v1::DecodeRequest request;
    request.set_request_id("r");
    request.set_model_revision(HexString(*ModelRevision(kModelDir)));
    request.set_epoch(1);
    request.mutable_prompt()->add_token_ids(5);
    request.mutable_prompt()->set_num_prompt_tokens(1);
    request.mutable_sampling()->set_max_tokens(max_tokens);
    request.mutable_sampling()->set_top_p(1);
    request.mutable_sampling()->set_repetition_penalty(1);
    request.mutable_sampling()->set_num_logprobs(-1);
    return request;
  }
  absl::Status Finished() {
    EXPECT_EQ(done_.wait_for(std::chrono::seconds(30)), std::future_status::ready);
    return done_.get();
  }

  FakeRouter router_;
  config::ClusterConfig config_;
  WorkerHooks hooks_;
  int64_t context_tokens_ = 1000;
  std::mutex gate_;  // held: no step ends
  std::mutex stop_mutex_;
  std::condition_variable stop_changed_;
  int stops_ = 0;
  int ready_pipe_[2];
  std::string address_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::WorkerService::Stub> stub_;
  std::future<absl::Status> done_;
};

TEST_F(RunWorkerTest, LoadsRegistersServesAndDrains) {
  Start();
  WaitReady();
  ASSERT_EQ(router_.registrations().size(), 1u);
  const v1::RegisterRequest registered = router_.registrations()[0];
  EXPECT_EQ(registered.worker_id(), "w1");
  EXPECT_EQ(registered.address(), address_);
  EXPECT_EQ(registered.model_name(), "tiny_mha");
  EXPECT_EQ(registered.model_revision(), HexString(*ModelRevision(kModelDir)));
  EXPECT_EQ(registered.context_tokens(), 1000);
  EXPECT_EQ(registered.numerics().rfind("bf16/", 0), 0u);

  gate_.lock();
  grpc::ClientContext context;
  context.set_deadline(rpc::ToChrono(absl::Now() + absl::Seconds(30)));
  const auto reader = stub_->Decode(&context, Request(8));
  ASSERT_TRUE(router_.WaitUntil([](const FakeRouter& r) {
    return !r.heartbeats().empty() && r.heartbeats().back().load().queued_requests() +
                                              r.heartbeats().back().load().running_requests() ==
                                          1;
  }));
  Stop();
  // The router hears of it while the request is still in work.
  ASSERT_TRUE(
      router_.WaitUntil([](const FakeRouter& r) { return r.heartbeats().back().draining(); }));
  gate_.unlock();
  v1::DecodeResponse response;
  int tokens = 0;
  while (reader->Read(&response)) tokens += response.tokens().token_ids_size();
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(tokens, 8);
  EXPECT_EQ(Finished(), absl::OkStatus());
  EXPECT_EQ(router_.farewells(), std::vector<std::string>{"w1"});
  EXPECT_EQ(ReadLine(), "");
}

TEST_F(RunWorkerTest, TheDrainDeadlineCutsRequests) {
  config_.worker.drain_timeout = absl::ZeroDuration();
  context_tokens_ = 30'000;
  Start();
  WaitReady();
  grpc::ClientContext context;
  context.set_deadline(rpc::ToChrono(absl::Now() + absl::Seconds(60)));
  const auto reader = stub_->Decode(&context, Request(25'000));
  v1::DecodeResponse response;
  ASSERT_TRUE(reader->Read(&response));
  Stop();
  while (reader->Read(&response)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);  // go on elsewhere
  EXPECT_EQ(Finished(), absl::OkStatus());
}

TEST_F(RunWorkerTest, ASecondSignalCutsTheDrain) {
  config_.worker.drain_timeout = absl::Hours(1);
  context_tokens_ = 30'000;
  Start();
  WaitReady();
  grpc::ClientContext context;
  context.set_deadline(rpc::ToChrono(absl::Now() + absl::Seconds(60)));
  const auto reader = stub_->Decode(&context, Request(25'000));
  v1::DecodeResponse response;
  ASSERT_TRUE(reader->Read(&response));
  Stop();
  Stop();
  while (reader->Read(&response)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);  // go on elsewhere
  EXPECT_EQ(Finished(), absl::OkStatus());
}

TEST_F(RunWorkerTest, WithoutARouterItServesAtOnce) {
  config_.worker.router_address = "";
  Start();
  WaitReady();
  EXPECT_TRUE(router_.registrations().empty());
  Stop();
  EXPECT_EQ(Finished(), absl::OkStatus());
}

TEST_F(RunWorkerTest, AModelThatCannotBeLoadedEndsTheRun) {
  hooks_.load_model = [](const model::LoadOptions&) { return absl::NotFoundError("no shard"); };
  Start();
  EXPECT_EQ(Finished().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(router_.registrations().empty());
  close(ready_pipe_[1]);
}

TEST_F(RunWorkerTest, BadSettingsAreNamed) {
  config_.worker.cpu_isa = "z80";
  Start();
  absl::Status status = Finished();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("worker.cpu_isa"));

  config_.worker.cpu_isa = "auto";
  config_.worker.listen = "0.0.0.0:0";
  Start();
  status = Finished();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("worker.advertise"));

  config_.worker.listen = "127.0.0.1:0";
  config_.worker.kv_cache_bytes = 1;
  Start();
  EXPECT_THAT(std::string(Finished().message()), HasSubstr("kv_cache_bytes"));
  close(ready_pipe_[1]);
}

}  // namespace
}  // namespace tessera::worker
