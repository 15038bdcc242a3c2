#include "router/group/group_service.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>

#include "services/rpc/channel.h"
#include "services/rpc/server.h"
#include "services/telemetry/metrics.h"
#include "tessera/v1/group.grpc.pb.h"
#include "tests/support/fake_clock.h"

namespace tessera::router {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A rank as the router sees it: its JoinGroup call.
class FakeRank {
 public:
  FakeRank(v1::GroupService::StubInterface& stub, const v1::JoinGroupRequest& request) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    reader_ = stub.JoinGroup(&context_, request);
  }
  ~FakeRank() {
    context_.TryCancel();
    End();
  }
  // The next view; epoch 0 with no group: the call has ended.
  v1::GroupView Next() {
    v1::GroupView view;
    return reader_->Read(&view) ? view : v1::GroupView();
  }
  void Cancel() { context_.TryCancel(); }
  grpc::Status End() {
    if (ended_) return end_;
    v1::GroupView view;
    while (reader_->Read(&view)) {
    }
    ended_ = true;
    return end_ = reader_->Finish();
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderInterface<v1::GroupView>> reader_;
  bool ended_ = false;
  grpc::Status end_;
};

class GroupServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    GroupServiceOptions options;
    options.on_suspect = [this](const std::string& group) { suspected_ += group == "g" ? 1 : 0; };
    service_ = GroupService::Create(options, clock_, metrics_);
    rpc::ServerOptions server_options;
    server_options.listen = "127.0.0.1:0";
    auto server = rpc::Server::Start(server_options, {&service_->service()});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    stub_ = v1::GroupService::NewStub(rpc::MakeChannel(server_->address()));
  }

  // Two places of one stage.
  v1::JoinGroupRequest Request(int32_t expert_rank, int64_t started_at_ms = 1) {
    v1::JoinGroupRequest request;
    request.set_worker_id("w" + std::to_string(expert_rank));
    request.set_group("g");
    request.set_stages(1);
    request.set_expert_ranks(2);
    request.set_expert_rank(expert_rank);
    request.set_address("host:" + std::to_string(expert_rank + 1));
    request.set_started_at_ms(started_at_ms);
    return request;
  }
  std::unique_ptr<FakeRank> Join(const v1::JoinGroupRequest& request) {
    return std::make_unique<FakeRank>(*stub_, request);
  }

  struct Answer {
    grpc::Status status;
    std::vector<std::string> data;
  };
  Answer Exchange(uint64_t epoch, int32_t rank, const std::string& data,
                  absl::Duration timeout = absl::Seconds(20)) {
    v1::ExchangeRequest request;
    request.set_group("g");
    request.set_epoch(epoch);
    request.set_rank(rank);
    request.set_round("round");
    request.set_data(data);
    grpc::ClientContext context;
    if (timeout != absl::InfiniteDuration()) {
      context.set_deadline(rpc::ToChrono(absl::Now() + timeout));
    }
    v1::ExchangeResponse response;
    Answer answer;
    answer.status = stub_->Exchange(&context, request, &response);
    answer.data.assign(response.data().begin(), response.data().end());
    return answer;
  }
  std::future<Answer> ExchangeLater(uint64_t epoch, int32_t rank, const std::string& data) {
    return std::async(std::launch::async, [=, this] { return Exchange(epoch, rank, data); });
  }
  void WaitForOpenExchanges(size_t count) {
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    while (service_->open_exchanges() != count && absl::Now() < deadline) {
      std::this_thread::yield();
    }
    ASSERT_EQ(service_->open_exchanges(), count);
  }

  testing::FakeClock clock_;
  telemetry::Metrics metrics_{telemetry::Component::kRouter};
  std::atomic<int> suspected_{0};
  std::unique_ptr<GroupService> service_;
  std::unique_ptr<rpc::Server> server_;
  std::unique_ptr<v1::GroupService::StubInterface> stub_;
};

TEST_F(GroupServiceTest, TwoRanksJoinAndExchange) {
  const auto first = Join(Request(0));
  const auto second = Join(Request(1));
  const v1::GroupView view = first->Next();
  EXPECT_GT(view.epoch(), 0u);
  EXPECT_EQ(view.columns(), 2);
  ASSERT_EQ(view.members_size(), 2);
  EXPECT_EQ(view.members(1).worker_id(), "w1");
  EXPECT_EQ(view.members(1).address(), "host:2");
  EXPECT_EQ(second->Next().SerializeAsString(), view.SerializeAsString());
  EXPECT_THAT(metrics_.Text(), HasSubstr("tessera_router_groups{state=\"standing\"} 1"));
  EXPECT_THAT(metrics_.Text(), HasSubstr("tessera_router_group_members{state=\"listed\"} 2"));
  EXPECT_THAT(metrics_.Text(), HasSubstr("tessera_router_group_changes_total 1"));

  std::future<Answer> of_second = ExchangeLater(view.epoch(), 1, "from 1");
  const Answer of_first = Exchange(view.epoch(), 0, "from 0");
  EXPECT_TRUE(of_first.status.ok()) << of_first.status.error_message();
  EXPECT_THAT(of_first.data, ElementsAre("from 0", "from 1"));
  EXPECT_THAT(of_second.get().data, ElementsAre("from 0", "from 1"));
  EXPECT_EQ(service_->open_exchanges(), 0u);
}

TEST_F(GroupServiceTest, TheEndOfACallIsANewViewForTheOthersAndAbortsExchanges) {
  const auto first = Join(Request(0));
  const auto second = Join(Request(1));
  const uint64_t epoch = first->Next().epoch();
  std::future<Answer> waiting = ExchangeLater(epoch, 0, "x");
  WaitForOpenExchanges(1);
  second->Cancel();
  const v1::GroupView view = first->Next();
  EXPECT_GT(view.epoch(), epoch);
  EXPECT_EQ(view.columns(), 1);
  EXPECT_EQ(waiting.get().status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(Exchange(epoch, 0, "x").status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_TRUE(Exchange(view.epoch(), 0, "alone").status.ok());
}

TEST_F(GroupServiceTest, AnExchangeEndsAtItsDeadlineAndLeavesNothing) {
  const auto first = Join(Request(0));
  const auto second = Join(Request(1));
  const uint64_t epoch = first->Next().epoch();
  EXPECT_EQ(Exchange(epoch, 0, "x", absl::Milliseconds(50)).status.error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  WaitForOpenExchanges(0);
  const grpc::Status endless = Exchange(epoch, 0, "x", absl::InfiniteDuration()).status;
  EXPECT_EQ(endless.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(endless.error_message(), HasSubstr("deadline"));
  EXPECT_EQ(Exchange(epoch, 2, "x").status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(GroupServiceTest, RefusesWhatTheTableRefuses) {
  const auto first = Join(Request(0, 5));
  const auto second = Join(Request(1));
  first->Next();
  v1::JoinGroupRequest other = Request(1);
  other.set_numerics("f32");
  EXPECT_EQ(Join(other)->End().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Join(Request(0, 4))->End().error_code(), grpc::StatusCode::ALREADY_EXISTS);
}

TEST_F(GroupServiceTest, ALaterStartEndsTheEarlierCall) {
  const auto first = Join(Request(0));
  const auto second = Join(Request(1));
  const uint64_t epoch = first->Next().epoch();
  second->Next();
  const auto restarted = Join(Request(0, 2));
  EXPECT_EQ(first->End().error_code(), grpc::StatusCode::ABORTED);
  const v1::GroupView view = second->Next();
  EXPECT_GT(view.epoch(), epoch);
  EXPECT_EQ(view.members(0).started_at_ms(), 2);
  EXPECT_EQ(restarted->Next().epoch(), view.epoch());
}

TEST_F(GroupServiceTest, ARankWhoseHeartbeatsStopIsPutOut) {
  const auto first = Join(Request(0));
  const auto second = Join(Request(1));
  const uint64_t epoch = second->Next().epoch();
  service_->OnHeartbeat("w0", clock_.Now());
  clock_.Advance(absl::Seconds(6));
  service_->Expire();
  EXPECT_EQ(first->End().error_code(), grpc::StatusCode::UNAVAILABLE);
  const v1::GroupView view = second->Next();
  EXPECT_GT(view.epoch(), epoch);
  EXPECT_EQ(view.members(0).worker_id(), "w1");
}

TEST_F(GroupServiceTest, ASuspicionIsLookedAtAtOnce) {
  const auto first = Join(Request(0));
  const auto second = Join(Request(1));
  v1::ReportSuspectRequest request;
  request.set_group("g");
  request.set_worker_id("w0");
  request.set_epoch(first->Next().epoch());
  for (const int expected : {1, 1}) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    v1::ReportSuspectResponse response;
    EXPECT_TRUE(stub_->ReportSuspect(&context, request, &response).ok());
    EXPECT_EQ(suspected_, expected);
    request.set_epoch(1);  // over
  }
}

TEST_F(GroupServiceTest, APlacementReachesTheRanks) {
  const auto first = Join(Request(0));
  const auto second = Join(Request(1));
  const uint64_t epoch = first->Next().epoch();
  ASSERT_TRUE(service_->SetPlacement("g", {{2, {{0, 1}, {1}}}}).ok());
  const v1::GroupView view = first->Next();
  EXPECT_GT(view.epoch(), epoch);
  ASSERT_EQ(view.placement_size(), 1);
  EXPECT_EQ(view.placement(0).layer(), 2);
  EXPECT_THAT(view.placement(0).experts(0).columns(), ElementsAre(0, 1));
}

TEST_F(GroupServiceTest, AnotherRouterAdoptsTheViewThatRanksBring) {
  v1::GroupView view;
  {
    const auto first = Join(Request(0));
    const auto second = Join(Request(1));
    view = first->Next();
    service_->Stop();
    EXPECT_EQ(first->End().error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(second->End().error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(Exchange(view.epoch(), 0, "x").status.error_code(), grpc::StatusCode::UNAVAILABLE);
  }
  server_.reset();
  SetUp();
  v1::JoinGroupRequest first_request = Request(0), second_request = Request(1);
  *first_request.mutable_current() = view;
  *second_request.mutable_current() = view;
  const auto first = Join(first_request);
  const auto second = Join(second_request);
  EXPECT_EQ(first->Next().SerializeAsString(), view.SerializeAsString());
  EXPECT_EQ(second->Next().SerializeAsString(), view.SerializeAsString());
}

}  // namespace
}  // namespace tessera::router
