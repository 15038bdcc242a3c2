// Prefill and decode on different ranks, as the gateway drives them.
#include <set>
#include <thread>

#include "tests/services/gateway/api/gateway_fixture.h"

namespace tessera::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const char kText[] = "The answer is forty-two, as always.";

grpc::Status Unavailable(const std::string& reason) {
  return rpc::ToGrpcStatus(rpc::WithReason(absl::UnavailableError("not now"), reason));
}

class SplitTest : public GatewayTest {
 protected:
  FakeWorker& NewRank() {
    FakeWorker& worker = NewWorker();
    worker.script = Script(kText);
    return worker;
  }
  void ExpectTheAnswer(const Answer& answer) {
    ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
    EXPECT_EQ(answer.texts[0], kText);
    EXPECT_EQ(answer.ids[0], Script(kText));
    ExpectNothingLeaks();
  }
  // Waits for what is sent off without being waited for.
  static std::vector<std::string> AwaitReleases(FakeWorker& worker, size_t count) {
    const absl::Time give_up = absl::Now() + absl::Seconds(10);
    while (worker.released().size() < count && absl::Now() < give_up)
      absl::SleepFor(absl::Milliseconds(1));
    return worker.released();
  }
};

v1::GenerateRequest AskAboutAPicture(v1::GenerateRequest request) {
  // A 2 × 2 BMP, 24 bits.
  const std::string bmp(
      "BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x02\0\0\0\x02\0\0\0\x01\0\x18\0\0\0\0\0\x10\0\0\0\0"
      "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
      "\1\2\3\4\5\6\0\0\1\2\3\4\5\6\0\0",
      70);
  request.mutable_messages(0)->add_content()->mutable_image()->set_data(bmp);
  return request;
}

TEST_F(SplitTest, OneRankComputesThePromptAndAnotherGenerates) {
  FakeWorker& prefill = NewRank();
  FakeWorker& decode = NewRank();
  AddPrefill("p", prefill);
  AddDecode("d", decode);
  StartGateway();
  v1::GenerateRequest request = AskAboutAPicture(Ask("What?"));
  request.set_priority(7);
  request.mutable_sampling()->set_logprobs(2);
  const Answer answer = Generate(request);
  ExpectTheAnswer(answer);
  EXPECT_EQ(answer.logprobs.size(), decode.script.size());
  EXPECT_EQ(answer.usage.cached_tokens(), 3) << "the prefill rank's word";
  EXPECT_EQ(prefill.calls, 0);
  EXPECT_EQ(decode.prefill_calls, 0);

  ASSERT_EQ(prefill.prefills().size(), 1u);
  const v1::PrefillRequest sent = prefill.prefills()[0];
  EXPECT_EQ(sent.decode_address(), workers_[1]->address());
  EXPECT_FALSE(sent.handoff_id().empty());
  EXPECT_EQ(sent.request().priority(), 7);
  const v1::PreparedPrompt& prompt = sent.request().prompt();
  ASSERT_EQ(prompt.images_size(), 1);
  EXPECT_FALSE(prompt.images(0).tiles().empty());

  ASSERT_EQ(decode.requests().size(), 1u);
  const v1::DecodeRequest continued = decode.requests()[0];
  EXPECT_EQ(continued.priority(), 7);
  EXPECT_EQ(continued.request_id(), sent.request().request_id());
  EXPECT_EQ(continued.handed_over().handoff_id(), sent.handoff_id());
  v1::PreparedPrompt expected = prompt;
  expected.add_token_ids(decode.script[0]);
  expected.mutable_images(0)->clear_tiles();
  EXPECT_EQ(continued.handed_over().prompt().SerializeAsString(), expected.SerializeAsString());
  EXPECT_THAT(decode.released(), IsEmpty());
}

TEST_F(SplitTest, SeveralAnswersAreHandedOverEachOnItsOwn) {
  FakeWorker& prefill = NewRank();
  FakeWorker& decode = NewRank();
  AddPrefill("p", prefill);
  AddDecode("d", decode);
  StartGateway();
  v1::GenerateRequest request = Ask("What?");
  request.mutable_sampling()->set_n(3);
  const Answer answer = Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(answer.texts[static_cast<size_t>(i)], kText);
  std::set<std::string> ids;
  for (const v1::PrefillRequest& sent : prefill.prefills()) ids.insert(sent.handoff_id());
  EXPECT_EQ(ids.size(), 3u);
  ExpectNothingLeaks();
}

TEST_F(SplitTest, APrefillRankThatFailsIsReplaced) {
  FakeWorker& broken = NewRank();
  FakeWorker& healthy = NewRank();
  FakeWorker& decode = NewRank();
  broken.prefill_refusal = [](const v1::PrefillRequest&) {
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "Socket closed");
  };
  AddPrefill("p1", broken);
  AddPrefill("p2", healthy);
  AddDecode("d", decode);
  StartGateway();
  for (int i = 0; i < 2; ++i) ExpectTheAnswer(Generate(Ask("What?")));
  EXPECT_GE(broken.prefill_calls, 1);
  EXPECT_EQ(healthy.prefill_calls, 2);
  EXPECT_EQ(decode.calls, 2);
  EXPECT_THAT(decode.released(), IsEmpty()) << "rows may be on their way";
}

TEST_F(SplitTest, ADecodeRankThatDiesIsReplacedAndThePromptComputedAgainWithTheTokensSoFar) {
  FakeWorker& prefill = NewRank();
  FakeWorker& broken = NewRank();
  FakeWorker& healthy = NewRank();
  broken.break_after = 3;
  AddPrefill("p", prefill);
  AddDecode("d1", broken);
  AddDecode("d2", healthy);
  StartGateway();
  for (int i = 0; i < 2; ++i) ExpectTheAnswer(Generate(Ask("What?")));
  ASSERT_GE(broken.calls, 1);
  std::vector<int64_t> positions;
  for (const v1::PrefillRequest& sent : prefill.prefills())
    positions.push_back(FakeWorker::PositionOf(sent.request()));
  EXPECT_THAT(positions, ::testing::Contains(4)) << "one from the prefill rank, three streamed";
  for (const v1::DecodeRequest& sent : healthy.requests()) EXPECT_TRUE(sent.has_handed_over());
}

TEST_F(SplitTest, ADecodeRankThatThePrefillRankCannotReachIsLeftOut) {
  FakeWorker& prefill = NewRank();
  FakeWorker& unreachable = NewRank();
  FakeWorker& healthy = NewRank();
  AddPrefill("p", prefill);
  AddDecode("d1", unreachable);
  AddDecode("d2", healthy);
  const std::string bad = workers_[1]->address();
  prefill.prefill_refusal = [bad](const v1::PrefillRequest& request) {
    return request.decode_address() == bad ? Unavailable("DECODE_RANK_UNAVAILABLE")
                                           : grpc::Status::OK;
  };
  StartGateway();
  for (int i = 0; i < 4; ++i) ExpectTheAnswer(Generate(Ask("What?")));
  EXPECT_EQ(unreachable.calls, 0);
  EXPECT_EQ(healthy.calls, 4);
  EXPECT_GT(prefill.prefill_calls, 4) << "the prefill rank is not to blame";
  EXPECT_LE(prefill.prefill_calls, 8) << "once in vain per answer";
}

TEST_F(SplitTest, ADecodePoolThatComesBackIsWaitedFor) {
  FakeWorker& prefill = NewRank();
  FakeWorker& decode = NewRank();
  AddPrefill("p", prefill);
  AddDecode("d", decode);
  std::atomic<int> refusals{8};
  prefill.prefill_refusal = [&refusals](const v1::PrefillRequest&) {
    return refusals.fetch_sub(1) > 0 ? Unavailable("DECODE_RANK_UNAVAILABLE") : grpc::Status::OK;
  };
  StartGateway();
  ExpectTheAnswer(Generate(Ask("What?")));
  EXPECT_EQ(prefill.prefill_calls, 9) << "more than max_attempts";
}

TEST_F(SplitTest, APreemptedAnswerReturnsToTheSameRank) {
  FakeWorker& prefill = NewRank();
  FakeWorker& decode = NewRank();
  decode.break_after = 1;
  decode.breaks = 5;
  decode.break_status = Unavailable("PREEMPTED");
  AddPrefill("p", prefill);
  AddDecode("d", decode);
  StartGateway();
  ExpectTheAnswer(Generate(Ask("What?")));
  EXPECT_GT(decode.calls, 3) << "more than max_attempts";
}

TEST_F(SplitTest, ALeaseThatIsOverIsTakenAgain) {
  FakeWorker& prefill = NewRank();
  FakeWorker& decode = NewRank();
  decode.refusal = grpc::Status(grpc::StatusCode::NOT_FOUND, "no such lease");
  decode.refusals = 1;
  AddPrefill("p", prefill);
  AddDecode("d", decode);
  StartGateway();
  ExpectTheAnswer(Generate(Ask("What?")));
  ASSERT_EQ(decode.requests().size(), 2u);
  EXPECT_NE(decode.requests()[0].handed_over().handoff_id(),
            decode.requests()[1].handed_over().handoff_id());
  EXPECT_EQ(FakeWorker::PositionOf(decode.requests()[1]), 2) << "two tokens from prefills";
  EXPECT_THAT(AwaitReleases(decode, 1),
              ElementsAre(decode.requests()[0].handed_over().handoff_id()));
}

TEST_F(SplitTest, AnAnswerOfOneTokenNeedsNoDecodeRank) {
  FakeWorker& prefill = NewRank();
  FakeWorker& decode = NewRank();
  AddPrefill("p", prefill);
  AddDecode("d", decode);
  StartGateway();
  v1::GenerateRequest request = Ask("What?");
  request.mutable_sampling()->set_max_tokens(1);
  const Answer answer = Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_THAT(answer.ids[0], ElementsAre(decode.script[0]));
  EXPECT_EQ(answer.finished[0].reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(answer.usage.cached_tokens(), 3);
  EXPECT_EQ(decode.calls, 0);
  ExpectNothingLeaks();
  EXPECT_THAT(decode.released(), IsEmpty()) << "the prefill rank has given it back";
}

TEST_F(SplitTest, AStopStringInTheFirstTokenGivesTheLeaseBack) {
  FakeWorker& prefill = NewRank();
  FakeWorker& decode = NewRank();
  AddPrefill("p", prefill);
  AddDecode("d", decode);
  StartGateway();
  v1::GenerateRequest request = Ask("What?");
  request.mutable_sampling()->add_stop("T");
  const Answer answer = Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.texts[0], "");
  EXPECT_THAT(AwaitReleases(decode, 1), ElementsAre(prefill.prefills()[0].handoff_id()));
  EXPECT_EQ(decode.calls, 0);
  ExpectNothingLeaks();
}

TEST_F(SplitTest, CancellingEndsThePrefill) {
  FakeWorker& prefill = NewRank();
  FakeWorker& decode = NewRank();
  prefill.hang_prefill = true;
  AddPrefill("p", prefill);
  AddDecode("d", decode);
  StartGateway();
  grpc::ClientContext context;
  std::thread canceller([&] {
    while (prefill.prefill_calls == 0) absl::SleepFor(absl::Milliseconds(1));
    context.TryCancel();
  });
  const Answer answer = Read(context, Ask("What?"));
  canceller.join();
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::CANCELLED);
  ExpectNothingLeaks();
  const absl::Time give_up = absl::Now() + absl::Seconds(10);
  while (prefill.cancelled == 0 && absl::Now() < give_up) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(prefill.cancelled, 1);
  EXPECT_EQ(decode.calls, 0);
}

TEST_F(SplitTest, CancellingEndsTheDecode) {
  FakeWorker& prefill = NewRank();
  FakeWorker& decode = NewRank();
  decode.hang = true;
  AddPrefill("p", prefill);
  AddDecode("d", decode);
  StartGateway();
  grpc::ClientContext context;
  std::thread canceller([&] {
    while (decode.calls == 0) absl::SleepFor(absl::Milliseconds(1));
    context.TryCancel();
  });
  const Answer answer = Read(context, Ask("What?"));
  canceller.join();
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::CANCELLED);
  ExpectNothingLeaks();
  const absl::Time give_up = absl::Now() + absl::Seconds(10);
  while (decode.cancelled == 0 && absl::Now() < give_up) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(decode.cancelled, 1);
}

TEST_F(SplitTest, TheDeadlineHoldsForThePrefill) {
  FakeWorker& prefill = NewRank();
  FakeWorker& decode = NewRank();
  prefill.hang_prefill = true;
  AddPrefill("p", prefill);
  AddDecode("d", decode);
  StartGateway();
  const Answer answer = Generate(Ask("What?"), absl::Milliseconds(300));
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  ExpectNothingLeaks();
}

TEST_F(SplitTest, AnAnswerWithoutItsFirstTokenBreaksTheProtocol) {
  FakeWorker& prefill = NewRank();
  FakeWorker& decode = NewRank();
  prefill.omit_first_token = true;
  AddPrefill("p", prefill);
  AddDecode("d", decode);
  StartGateway();
  const Answer answer = Generate(Ask("What?"));
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(answer.status.error_message(), "workers failed this answer 3 times");
  EXPECT_EQ(AwaitReleases(decode, 3).size(), 3u);
  EXPECT_EQ(decode.calls, 0);
  ExpectNothingLeaks();
}

TEST_F(SplitTest, AMissingPoolIsNamed) {
  FakeWorker& prefill = NewRank();
  AddPrefill("p", prefill);
  StartGateway();
  const Answer answer = Generate(Ask("What?"));
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(answer.status.error_message(), HasSubstr("decode pool: no worker"));
}

TEST_F(SplitTest, APriorityOutOfBoundsIsRefused) {
  StartGateway();
  v1::GenerateRequest request = Ask("What?");
  request.set_priority(101);
  const Answer answer = Generate(request);
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(answer.status.error_message(), "priority: 101 is not in [-100, 100]");
}

}  // namespace
}  // namespace tessera::gateway
