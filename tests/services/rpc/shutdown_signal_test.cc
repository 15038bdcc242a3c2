#include "services/rpc/shutdown_signal.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

namespace tessera::rpc {
namespace {

TEST(ShutdownSignal, ReturnsEachSignalOnceAndTimesOut) {
  ShutdownSignal signal;
  EXPECT_EQ(signal.Wait(absl::ZeroDuration()), 0);
  ASSERT_EQ(pthread_kill(pthread_self(), SIGTERM), 0);
  EXPECT_EQ(signal.Wait(absl::InfiniteDuration()), SIGTERM);
  EXPECT_EQ(signal.Wait(absl::Milliseconds(1)), 0);
  ASSERT_EQ(pthread_kill(pthread_self(), SIGINT), 0);
  EXPECT_EQ(signal.Wait(absl::Seconds(30)), SIGINT);
}

}  // namespace
}  // namespace tessera::rpc
