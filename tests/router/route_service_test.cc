#include "router/route_service.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "router/worker_registry.h"
#include "services/rpc/grpc_status.h"
#include "services/rpc/server.h"
#include "services/rpc/status_details.h"
#include "tessera/v1/router.grpc.pb.h"
#include "tests/support/fake_clock.h"

namespace tessera::router {
namespace {

using ::testing::HasSubstr;

// A real server on loopback with a clock that the test turns.
class RouteServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    service_ = MakeRouteService(registry_, {absl::Seconds(5), absl::Seconds(1), &ChooseLeastTokens},
                                metrics_);
    rpc::ServerOptions options;
    options.listen = "127.0.0.1:0";
    auto server = rpc::Server::Start(options, {service_.get()});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    stub_ = v1::RouterService::NewStub(
        grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
  }

  template <typename Response, typename Request>
  grpc::Status Call(grpc::Status (v1::RouterService::StubInterface::*method)(grpc::ClientContext*,
                                                                             const Request&,
                                                                             Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    return (stub_.get()->*method)(&context, request, response);
  }

  v1::RegisterRequest Worker(const std::string& id) {
    v1::RegisterRequest request;
    request.set_worker_id(id);
    request.set_address(id + ":1");
    request.set_role(v1::WORKER_ROLE_BOTH);
    request.set_model_revision("r1");
    request.set_numerics("bf16/avx2");
    return request;
  }

  grpc::Status Register(const v1::RegisterRequest& request) {
    v1::RegisterResponse response;
    return Call(&v1::RouterService::StubInterface::Register, request, &response);
  }

  grpc::Status Place(const std::vector<std::string>& excluded, v1::PlaceResponse* response,
                     int prompt_tokens = 10) {
    v1::PlaceRequest request;
    request.set_model_revision("r1");
    request.set_prompt_tokens(prompt_tokens);
    request.set_max_new_tokens(5);
    for (const std::string& id : excluded) {
      request.add_excluded_worker_ids(id);
    }
    return Call(&v1::RouterService::StubInterface::Place, request, response);
  }

  testing::FakeClock clock_;
  WorkerRegistry registry_{absl::Seconds(5), clock_};
  telemetry::Metrics metrics_{telemetry::Component::kRouter};
  std::unique_ptr<grpc::Service> service_;
  std::unique_ptr<rpc::Server> server_;
  std::unique_ptr<v1::RouterService::StubInterface> stub_;
};

TEST_F(RouteServiceTest, PlacesRequestsOnRegisteredWorkersInTurn) {
  v1::RegisterResponse registered;
  ASSERT_TRUE(Call(&v1::RouterService::StubInterface::Register, Worker("a"), &registered).ok());
  EXPECT_EQ(registered.lease_ms(), 5000);
  EXPECT_EQ(registered.heartbeat_interval_ms(), 1000);
  ASSERT_TRUE(Register(Worker("b")).ok());
  v1::PlaceResponse first, second;
  ASSERT_TRUE(Place({}, &first).ok());
  ASSERT_TRUE(Place({}, &second).ok());
  EXPECT_NE(first.decode().worker_id(), second.decode().worker_id())
      << "the first placement is a reservation";
  EXPECT_EQ(first.prefill().address(), first.decode().address());
  EXPECT_EQ(first.decode().numerics(), "bf16/avx2");
  EXPECT_THAT(metrics_.Text(), HasSubstr("tessera_router_placements_total{result=\"ok\"} 2"));
}

TEST_F(RouteServiceTest, ExcludesWhatFailedAndSaysSo) {
  ASSERT_TRUE(Register(Worker("a")).ok());
  v1::PlaceResponse response;
  const grpc::Status status = Place({"a"}, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("1 failed this request before"));
}

TEST_F(RouteServiceTest, ForgetsASilentWorkerAndTakesItBack) {
  ASSERT_TRUE(Register(Worker("a")).ok());
  clock_.Advance(absl::Seconds(6));
  v1::PlaceResponse placed;
  EXPECT_EQ(Place({}, &placed).error_code(), grpc::StatusCode::UNAVAILABLE);
  v1::HeartbeatRequest heartbeat;
  heartbeat.set_worker_id("a");
  v1::HeartbeatResponse response;
  EXPECT_EQ(Call(&v1::RouterService::StubInterface::Heartbeat, heartbeat, &response).error_code(),
            grpc::StatusCode::NOT_FOUND);
  ASSERT_TRUE(Register(Worker("a")).ok());
  EXPECT_TRUE(Call(&v1::RouterService::StubInterface::Heartbeat, heartbeat, &response).ok());
  EXPECT_TRUE(Place({}, &placed).ok());
}

TEST_F(RouteServiceTest, SendsNothingToADrainingWorker) {
  ASSERT_TRUE(Register(Worker("a")).ok());
  v1::HeartbeatRequest heartbeat;
  heartbeat.set_worker_id("a");
  heartbeat.set_draining(true);
  v1::HeartbeatResponse beaten;
  ASSERT_TRUE(Call(&v1::RouterService::StubInterface::Heartbeat, heartbeat, &beaten).ok());
  v1::PlaceResponse placed;
  EXPECT_THAT(Place({}, &placed).error_message(), HasSubstr("1 draining"));
  v1::Cluster cluster;
  ASSERT_TRUE(
      Call(&v1::RouterService::StubInterface::GetCluster, v1::GetClusterRequest(), &cluster).ok());
  ASSERT_EQ(cluster.workers_size(), 1);
  EXPECT_TRUE(cluster.workers(0).draining());
  v1::DeregisterRequest leave;
  leave.set_worker_id("a");
  v1::DeregisterResponse left;
  ASSERT_TRUE(Call(&v1::RouterService::StubInterface::Deregister, leave, &left).ok());
  EXPECT_EQ(Place({}, &placed).error_message(), "no worker is registered");
}

TEST_F(RouteServiceTest, SplitPoolsGetOneRankOfEach) {
  v1::RegisterRequest prefill = Worker("p");
  prefill.set_role(v1::WORKER_ROLE_PREFILL);
  ASSERT_TRUE(Register(prefill).ok());
  v1::PlaceResponse placed;
  EXPECT_THAT(Place({}, &placed).error_message(), HasSubstr("decode pool: no worker"));
  v1::RegisterRequest decode = Worker("d");
  decode.set_role(v1::WORKER_ROLE_DECODE);
  decode.mutable_load()->set_max_queued_requests(2);
  ASSERT_TRUE(Register(decode).ok());
  ASSERT_TRUE(Place({}, &placed).ok());
  EXPECT_EQ(placed.prefill().worker_id(), "p");
  EXPECT_EQ(placed.decode().address(), "d:1");
  const ClusterSnapshot snapshot = registry_.Snapshot();
  EXPECT_EQ(snapshot.workers[0].reserved_tokens, 5) << "the answer";
  EXPECT_EQ(snapshot.workers[1].reserved_tokens, 10) << "the prompt";
  ASSERT_TRUE(Place({}, &placed).ok());
  const absl::Status full = rpc::FromGrpcStatus(Place({}, &placed));
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(full.message()), HasSubstr("decode pool: 1 with a full queue"));
  EXPECT_EQ(rpc::RetryDelayOf(full), absl::Seconds(1));
}

TEST_F(RouteServiceTest, ARequestThatNeverFitsHasNothingToWaitFor) {
  v1::RegisterRequest small = Worker("a");
  small.set_kv_block_size_tokens(4);
  small.mutable_load()->set_kv_blocks_total(3);
  ASSERT_TRUE(Register(small).ok());
  v1::PlaceResponse placed;
  const absl::Status status = rpc::FromGrpcStatus(Place({}, &placed));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("1 with too little KV for it"));
  EXPECT_FALSE(rpc::RetryDelayOf(status).has_value());
}

TEST_F(RouteServiceTest, TellsWhatThePrefillRankKnows) {
  v1::RegisterRequest worker = Worker("a");
  worker.set_kv_block_size_tokens(4);
  ASSERT_TRUE(Register(worker).ok());
  v1::HeartbeatRequest heartbeat;
  heartbeat.set_worker_id("a");
  heartbeat.set_kv_events_are_all(true);
  for (const uint64_t hash : {1, 2, 3}) {
    heartbeat.add_kv_events()->set_hash(hash);
  }
  v1::HeartbeatResponse beaten;
  ASSERT_TRUE(Call(&v1::RouterService::StubInterface::Heartbeat, heartbeat, &beaten).ok());
  v1::PlaceRequest request;
  request.set_model_revision("r1");
  request.set_prompt_tokens(12);
  request.set_max_new_tokens(5);
  for (const uint64_t hash : {1, 2, 3}) {
    request.add_block_hashes(hash);
  }
  request.set_block_hash_size_tokens(4);
  v1::PlaceResponse placed;
  ASSERT_TRUE(Call(&v1::RouterService::StubInterface::Place, request, &placed).ok());
  EXPECT_EQ(placed.kv_block_size_tokens(), 4);
  EXPECT_EQ(placed.expected_cached_tokens(), 8) << "the last token is always computed";
  request.set_prompt_tokens(13);
  ASSERT_TRUE(Call(&v1::RouterService::StubInterface::Place, request, &placed).ok());
  EXPECT_EQ(placed.expected_cached_tokens(), 12);
  v1::RegisterRequest other = Worker("b");
  other.set_kv_block_size_tokens(8);
  ASSERT_TRUE(Register(other).ok());
  ASSERT_TRUE(Call(&v1::RouterService::StubInterface::Place, request, &placed).ok());
  EXPECT_EQ(placed.kv_block_size_tokens(), 0) << "they differ";
}

TEST_F(RouteServiceTest, ShowsPlacesAndLoads) {
  v1::RegisterRequest worker = Worker("a");
  worker.mutable_place()->set_group("g");
  worker.mutable_place()->set_stages(2);
  worker.mutable_place()->set_expert_ranks(2);
  worker.mutable_place()->set_expert_rank(1);
  ASSERT_TRUE(Register(worker).ok());
  v1::PlaceResponse placed;
  EXPECT_THAT(Place({}, &placed).error_message(),
              HasSubstr("1 waiting for the ranks of their group"));
  v1::HeartbeatRequest heartbeat;
  heartbeat.set_worker_id("a");
  *heartbeat.mutable_place() = worker.place();
  heartbeat.mutable_place()->set_epoch(3);
  heartbeat.mutable_load()->set_kv_blocks_cached(6);
  heartbeat.mutable_load()->set_generated_tokens(70);
  heartbeat.mutable_load()->set_prompt_tokens(80);
  heartbeat.mutable_load()->set_kv_leases_reclaimed(9);
  heartbeat.mutable_load()->set_expert_imbalance(1.5);
  v1::HeartbeatResponse beaten;
  ASSERT_TRUE(Call(&v1::RouterService::StubInterface::Heartbeat, heartbeat, &beaten).ok());
  EXPECT_TRUE(Place({}, &placed).ok());
  v1::Cluster cluster;
  ASSERT_TRUE(
      Call(&v1::RouterService::StubInterface::GetCluster, v1::GetClusterRequest(), &cluster).ok());
  ASSERT_EQ(cluster.workers_size(), 1);
  EXPECT_EQ(cluster.workers(0).place().SerializeAsString(), heartbeat.place().SerializeAsString());
  EXPECT_EQ(cluster.workers(0).load().SerializeAsString(), heartbeat.load().SerializeAsString());
}

TEST_F(RouteServiceTest, NamesTheFieldThatIsWrong) {
  v1::RegisterRequest no_role = Worker("a");
  no_role.set_role(v1::WORKER_ROLE_UNSPECIFIED);
  EXPECT_EQ(Register(no_role).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(Register(no_role).error_message(), HasSubstr("role"));
  v1::PlaceResponse response;
  const grpc::Status status = Place({}, &response, 0);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("prompt_tokens"));
}

}  // namespace
}  // namespace tessera::router
