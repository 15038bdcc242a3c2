#include "services/rpc/server.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/synchronization/notification.h"
#include "services/rpc/channel.h"
#include "services/rpc/grpc_status.h"
#include "tessera/v1/router.grpc.pb.h"

namespace tessera::rpc {
namespace {

using ::testing::HasSubstr;

constexpr char kName[] = "tessera.v1.RouterService";

// Deregister answers at once; GetCluster answers when the test says so, or when it is cancelled.
class Service final : public v1::RouterService::Service {
 public:
  grpc::Status Deregister(grpc::ServerContext*, const v1::DeregisterRequest*,
                          v1::DeregisterResponse*) override {
    return grpc::Status::OK;
  }
  grpc::Status GetCluster(grpc::ServerContext* context, const v1::GetClusterRequest*,
                          v1::Cluster*) override {
    entered.Notify();
    while (!context->IsCancelled() &&
           !release.WaitForNotificationWithTimeout(absl::Milliseconds(1))) {
    }
    return context->IsCancelled() ? grpc::Status::CANCELLED : grpc::Status::OK;
  }
  absl::Notification entered;
  absl::Notification release;
};

absl::StatusOr<std::unique_ptr<Server>> StartServer(Service& service,
                                                    const std::string& listen = "127.0.0.1:0") {
  ServerOptions options;
  options.listen = listen;
  options.health_services = {kName};
  options.reflection = true;
  options.max_message_bytes = 1 << 20;
  return Server::Start(options, {&service});
}

// grpc.health.v1.Health/Check by hand: request {1: name}, response {1: status}. Returns 1 SERVING,
// 2 NOT_SERVING, or minus the error code.
int Health(const std::shared_ptr<grpc::Channel>& channel, const std::string& name) {
  std::string bytes;
  if (!name.empty()) bytes = std::string("\x0a") + static_cast<char>(name.size()) + name;
  const grpc::Slice slice(bytes);
  const grpc::ByteBuffer request(&slice, 1);
  grpc::ClientContext context;
  context.set_deadline(ToChrono(absl::Now() + absl::Seconds(10)));
  grpc::CompletionQueue queue;
  grpc::GenericStub stub(channel);
  auto call = stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check", request, &queue);
  call->StartCall();
  grpc::ByteBuffer response;
  grpc::Status status;
  call->Finish(&response, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  EXPECT_TRUE(queue.Next(&tag, &ok));
  if (!status.ok()) return -static_cast<int>(status.error_code());
  grpc::Slice single;
  if (!response.DumpToSingleSlice(&single).ok() || single.size() != 2) return 0;
  return single.begin()[1];
}

TEST(Server, ListensOnAnyPortAndAnswers) {
  Service service;
  auto server = StartServer(service);
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_GT((*server)->port(), 0);
  EXPECT_EQ((*server)->address(), "127.0.0.1:" + std::to_string((*server)->port()));
  auto stub = v1::RouterService::NewStub(MakeChannel((*server)->address()));
  grpc::ClientContext context;
  v1::DeregisterResponse response;
  EXPECT_TRUE(stub->Deregister(&context, {}, &response).ok());
}

TEST(Server, AddressInUseIsNamed) {
  Service service;
  auto first = StartServer(service);
  ASSERT_TRUE(first.ok());
  Service other;
  const auto second = StartServer(other, (*first)->address());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr((*first)->address()));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("in use"));
  EXPECT_EQ(StartServer(other, "no.such.host.invalid:1").status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(StartServer(other, "nonsense").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Server, HealthFollowsSetServing) {
  Service service;
  auto server = StartServer(service);
  ASSERT_TRUE(server.ok());
  auto channel = MakeChannel((*server)->address());
  EXPECT_EQ(Health(channel, ""), 1);
  EXPECT_EQ(Health(channel, kName), 1);
  EXPECT_EQ(Health(channel, "tessera.v1.Unknown"), -grpc::StatusCode::NOT_FOUND);
  (*server)->SetServing(false);
  EXPECT_EQ(Health(channel, ""), 2);
  EXPECT_EQ(Health(channel, kName), 2);
}

TEST(Server, RefusesMessagesBeyondTheLimit) {
  Service service;
  auto server = StartServer(service);
  ASSERT_TRUE(server.ok());
  auto stub = v1::RouterService::NewStub(MakeChannel((*server)->address()));
  v1::DeregisterRequest request;
  request.set_worker_id(std::string(2 << 20, 'x'));
  v1::DeregisterResponse response;
  grpc::ClientContext context;
  EXPECT_EQ(stub->Deregister(&context, request, &response).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  grpc::ClientContext again;
  EXPECT_TRUE(stub->Deregister(&again, {}, &response).ok()) << "the server is alive";
}

TEST(Server, DrainLetsCallsInFlightEnd) {
  Service service;
  auto server = StartServer(service);
  ASSERT_TRUE(server.ok());
  auto stub = v1::RouterService::NewStub(MakeChannel((*server)->address()));
  grpc::Status status;
  std::thread caller([&] {
    grpc::ClientContext context;
    v1::Cluster response;
    status = stub->GetCluster(&context, {}, &response);
  });
  service.entered.WaitForNotification();
  std::thread drain([&] { (*server)->Drain(absl::Now() + absl::Seconds(60)); });
  // A new call is refused as soon as the drain has begun; the one in flight is not.
  auto other = v1::RouterService::NewStub(MakeChannel((*server)->address()));
  grpc::Status refused;
  do {
    grpc::ClientContext context;
    context.set_deadline(ToChrono(absl::Now() + absl::Seconds(10)));
    v1::DeregisterResponse response;
    refused = other->Deregister(&context, {}, &response);
  } while (refused.ok());
  // One that was on its way to the server when the drain began ends as CANCELLED.
  EXPECT_THAT(refused.error_code(),
              testing::AnyOf(grpc::StatusCode::UNAVAILABLE, grpc::StatusCode::CANCELLED));
  service.release.Notify();
  caller.join();
  drain.join();
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST(Server, DrainCancelsAtTheDeadline) {
  Service service;
  auto server = StartServer(service);
  ASSERT_TRUE(server.ok());
  auto stub = v1::RouterService::NewStub(MakeChannel((*server)->address()));
  grpc::Status status;
  std::thread caller([&] {
    grpc::ClientContext context;
    v1::Cluster response;
    status = stub->GetCluster(&context, {}, &response);
  });
  service.entered.WaitForNotification();
  (*server)->Drain(absl::Now());
  caller.join();
  EXPECT_FALSE(status.ok());
}

TEST(Channel, TimesConvert) {
  EXPECT_EQ(ToChrono(absl::InfiniteFuture()), std::chrono::system_clock::time_point::max());
  EXPECT_EQ(FromChrono(std::chrono::system_clock::time_point::max()), absl::InfiniteFuture());
  const absl::Time time = absl::FromUnixMillis(1'700'000'000'123);
  EXPECT_EQ(FromChrono(ToChrono(time)), time);
}

}  // namespace
}  // namespace tessera::rpc
