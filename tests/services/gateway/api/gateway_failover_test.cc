#include <thread>

#include "tests/services/gateway/api/gateway_fixture.h"

namespace tessera::gateway {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST_F(GatewayTest, ABrokenStreamGoesOnElsewhereAndTheClientSeesNothing) {
  FakeWorker& broken = NewWorker();
  FakeWorker& healthy = NewWorker();
  broken.script = healthy.script = Script("The answer is forty-two, as always.");
  broken.break_after = 3;
  AddWorker("a", broken);
  AddWorker("b", healthy);
  StartGateway();
  for (int i = 0; i < 2; ++i) {  // in turn, so at least one of the two begins on the broken worker
    const Answer answer = Generate(Ask("What?"));
    ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
    EXPECT_EQ(answer.texts[0], "The answer is forty-two, as always.");
    EXPECT_EQ(answer.ids[0], healthy.script);
  }
  EXPECT_GE(broken.calls, 1);
  EXPECT_EQ(healthy.calls, 2);
  bool resumed = false;
  for (const v1::DecodeRequest& request : healthy.requests()) {
    const int extra = request.prompt().token_ids_size() - request.prompt().num_prompt_tokens();
    if (extra == 0) continue;
    resumed = true;
    EXPECT_EQ(extra, 3);
    EXPECT_EQ(request.sampling().max_tokens(), 512) << "counts the tokens of before";
  }
  EXPECT_TRUE(resumed);
  ExpectNothingLeaks();
}

TEST_F(GatewayTest, AFailoverKeepsToTheSameNumerics) {
  FakeWorker& broken = NewWorker();
  FakeWorker& other = NewWorker();
  broken.script = other.script = Script("one two three");
  broken.break_after = 1;
  AddWorker("a", broken);
  AddWorker("b", other, "bf16/other");
  dispatch_.recovery_patience = absl::Milliseconds(100);
  StartGateway();
  int failed = 0;
  for (int i = 0; i < 2; ++i) {
    const Answer answer = Generate(Ask("What?"));
    if (answer.status.ok()) continue;
    ++failed;
    EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_THAT(answer.status.error_message(), Not(HasSubstr("10.1.2.3")));
  }
  EXPECT_EQ(failed, 1);
  for (const v1::DecodeRequest& request : other.requests()) {
    EXPECT_EQ(request.prompt().token_ids_size(), request.prompt().num_prompt_tokens());
  }
  ExpectNothingLeaks();
}

TEST_F(GatewayTest, TheSameWorkerIsTriedAgainWhenItIsTheOnlyOne) {
  FakeWorker& worker = NewWorker();
  worker.script = Script("one two three four");
  worker.break_after = 2;
  AddWorker("a", worker);
  config_.gateway.max_attempts = 10;
  StartGateway();
  const Answer answer = Generate(Ask("What?"));
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.ids[0], worker.script);
  EXPECT_GT(worker.calls, 1);
}

// A worker that was killed: the router names its address until the lease ends. A new one registers
// under the same id.
TEST_F(GatewayTest, AWorkerThatDiesAndComesBackLosesNoRequest) {
  FakeWorker& before = NewWorker();
  FakeWorker& after = NewWorker();
  after.script = Script("one two three four");
  before.script = {after.script[0], after.script[1]};
  before.hang = true;
  AddWorker("a", before);
  StartGateway();
  std::thread restart([&] {
    while (before.calls == 0) absl::SleepFor(absl::Milliseconds(1));
    workers_[0]->Drain(absl::Now());
    // The gateway is sent to the dead address several times more, in vain.
    while (registry_.Snapshot().workers[0].reserved_requests < 6)
      absl::SleepFor(absl::Milliseconds(1));
    registry_.Deregister(WorkerId("a"));
    AddWorker("a", after);
  });
  const Answer answer = Generate(Ask("What?"));
  restart.join();
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.ids[0], after.script);
  ExpectNothingLeaks();
}

TEST_F(GatewayTest, ManyFailuresEndTheRequestWithoutInternals) {
  FakeWorker& worker = NewWorker();
  worker.script = Script("one two");
  worker.break_after = 0;
  AddWorker("a", worker);
  StartGateway();
  const Answer answer = Generate(Ask("What?"));
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(answer.status.error_message(), "workers failed this answer 3 times");
  EXPECT_EQ(worker.calls, 3);
  ExpectNothingLeaks();
}

// A worker says itself that it cannot serve now: its group re-forms, or it drains.
TEST_F(GatewayTest, AWorkerThatIsNotReadyIsWaitedFor) {
  FakeWorker& worker = NewWorker();
  worker.script = Script("one two");
  worker.refusal = rpc::ToGrpcStatus(
      rpc::WithReason(absl::UnavailableError("the group does not stand"), "GROUP_NOT_READY"));
  worker.refusals = 8;
  AddWorker("a", worker);
  StartGateway();
  const Answer answer = Generate(Ask("What?"));
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.ids[0], worker.script);
  EXPECT_EQ(worker.calls, 9) << "more than max_attempts";
  ExpectNothingLeaks();
}

TEST_F(GatewayTest, ProgressClearsTheCountOfFailures) {
  FakeWorker& worker = NewWorker();
  worker.script = Encode("one two three four five six seven eight nine ten eleven twelve thirteen");
  while (worker.script.size() < 48)
    worker.script.push_back(worker.script[worker.script.size() / 2]);
  worker.script.push_back(Eos());
  worker.break_after = 8;
  AddWorker("a", worker);
  StartGateway();
  const Answer answer = Generate(Ask("What?"));
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.ids[0], worker.script);
  EXPECT_GT(worker.calls, 3);
}

TEST_F(GatewayTest, NoWorkerIsAnHonestErrorWithoutAddresses) {
  StartGateway();
  const Answer answer = Generate(Ask("What?"));
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(answer.status.error_message(),
            "no worker can serve the request now: no worker is registered");
  ExpectNothingLeaks();
}

TEST_F(GatewayTest, NoRouterIsAnErrorWithoutAddresses) {
  router_ = nullptr;
  StartGateway();
  const Answer answer = Generate(Ask("What?"));
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(answer.status.error_message(),
            "no worker can serve the request now: the router does not answer");
}

TEST_F(GatewayTest, AnAnswerWhoseEndWasLostIsComplete) {
  FakeWorker& worker = NewWorker();
  worker.script = Script("done");
  worker.script.push_back(5);  // so that the break comes after the end token, before the end event
  worker.break_after = static_cast<int64_t>(worker.script.size()) - 1;
  AddWorker("a", worker);
  StartGateway();
  const Answer answer = Generate(Ask("What?"));
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.texts[0], "done");
  EXPECT_EQ(answer.finished[0].reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(worker.calls, 1);
}

TEST_F(GatewayTest, AModelsFailureIsNotRetried) {
  FakeWorker& worker = NewWorker();
  worker.refusal = grpc::Status(grpc::StatusCode::INTERNAL, "NaN at 0x1234");
  AddWorker("a", worker);
  StartGateway();
  const Answer answer = Generate(Ask("What?"));
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_THAT(answer.status.error_message(), Not(HasSubstr("0x1234")));
  EXPECT_EQ(worker.calls, 1);
}

}  // namespace
}  // namespace tessera::gateway
