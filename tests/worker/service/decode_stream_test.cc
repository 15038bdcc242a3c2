// The stream without a call: gRPC keeps the writes of a reactor that is not bound to one, so a
// write "under way" stays so until the test ends it.
#include "worker/service/decode_stream.h"

#include "gtest/gtest.h"

namespace tessera::worker {
namespace {

engine::TokenEvent Token(int64_t position) {
  return {static_cast<int32_t>(position), position, {}};
}

TEST(DecodeStream, ACallerThatLagsTooFarIsCancelledOnce) {
  int cancels = 0;
  auto* stream = new DecodeStream(3, [&] { ++cancels; });
  const auto sink = stream->MakeSink();
  sink->OnToken(Token(0));  // being written
  for (int64_t i = 1; i <= 3; ++i) sink->OnToken(Token(i));
  EXPECT_EQ(cancels, 0);
  sink->OnToken(Token(4));
  sink->OnToken(Token(5));
  EXPECT_EQ(cancels, 1);
  sink->OnFinish(engine::FinishReason::kCancelled, absl::CancelledError(""), {});
  stream->OnCancel();
  EXPECT_EQ(cancels, 1);
  stream->OnWriteDone(false);
  EXPECT_EQ(cancels, 1);
  stream->OnDone();
}

TEST(DecodeStream, ABrokenWriteCancelsUntilTheEngineHasEnded) {
  int cancels = 0;
  auto* stream = new DecodeStream(3, [&] { ++cancels; });
  const auto sink = stream->MakeSink();
  sink->OnToken(Token(0));
  stream->OnWriteDone(false);
  EXPECT_EQ(cancels, 1);
  sink->OnToken(Token(1));  // goes nowhere
  sink->OnFinish(engine::FinishReason::kCancelled, absl::CancelledError(""), {});
  stream->OnCancel();
  EXPECT_EQ(cancels, 1);
  stream->OnDone();
}

TEST(DecodeStream, ARefusedCallCancelsNothing) {
  int cancels = 0;
  auto* stream = new DecodeStream(3, [&] { ++cancels; });
  stream->Refuse(absl::InvalidArgumentError("no"));
  stream->OnCancel();
  EXPECT_EQ(cancels, 0);
  stream->OnDone();
}

}  // namespace
}  // namespace tessera::worker
