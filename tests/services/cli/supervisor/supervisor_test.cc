#include "services/cli/supervisor/supervisor.h"

#include <signal.h>

#include <condition_variable>
#include <mutex>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tessera::supervisor {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A child that serves at `address` until SIGTERM, with a short note of the end in its exit code.
std::string Serving(const std::string& address) {
  return "trap 'exit 0' TERM; echo '{\"address\":\"" + address +
         "\"}' >&3; while :; do sleep 0.02; done";
}

MemberSpec Member(const std::string& name, int start_stage, int stop_stage,
                  const std::string& script) {
  return {.name = name,
          .start_stage = start_stage,
          .stop_stage = stop_stage,
          .arguments =
              [script](const Addresses&) {
                return std::vector<std::string>{"-c", script};
              },
          .drain_timeout = absl::Seconds(20)};
}

SupervisorOptions Shell() {
  SupervisorOptions options;
  options.program = "/bin/sh";
  options.start_timeout = absl::Seconds(20);
  options.backoff.first = absl::Milliseconds(10);
  return options;
}

TEST(Supervisor, StartsInStagesAndHandsAddressesOn) {
  std::mutex mutex;
  std::vector<std::string> order;
  const auto noting = [&](const std::string& name, const std::string& script) {
    return [&, name, script](const Addresses& addresses) {
      const std::lock_guard<std::mutex> lock(mutex);
      order.push_back(name +
                      (addresses.contains("router") ? " after " + addresses.at("router") : ""));
      return std::vector<std::string>{"-c", script};
    };
  };
  MemberSpec router = Member("router", 0, 1, "");
  router.arguments = noting("router", Serving("r:1"));
  MemberSpec gateway = Member("gateway", 1, 0, "");
  gateway.arguments = noting("gateway", Serving("g:2"));
  Supervisor supervisor(Shell(), {gateway, router});
  supervisor.Start();
  ASSERT_TRUE(supervisor.WaitUntilServing().ok());
  EXPECT_THAT(order, ElementsAre("router", "gateway after r:1"));
  EXPECT_THAT(supervisor.addresses(),
              ElementsAre(testing::Pair("gateway", "g:2"), testing::Pair("router", "r:1")));
  supervisor.RequestStop();
  EXPECT_TRUE(supervisor.WaitUntilEnded().ok());
  EXPECT_TRUE(supervisor.pids().empty());
}

TEST(Supervisor, ReportsTheChildsOwnErrorAndKillsTheRest) {
  Supervisor supervisor(
      Shell(),
      {Member("router", 0, 0, Serving("r:1")),
       Member("worker 0", 1, 0,
              "echo '{\"error\":\"no config.json\",\"code\":\"NOT_FOUND\"}' >&3; exit 1")});
  supervisor.Start();
  const absl::Status status = supervisor.WaitUntilServing();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "worker 0: no config.json");
  EXPECT_EQ(supervisor.WaitUntilEnded(), status);
  EXPECT_TRUE(supervisor.pids().empty());
}

TEST(Supervisor, SaysHowASilentChildEnded) {
  Supervisor supervisor(Shell(), {Member("worker 0", 0, 0, "kill -11 $$")});
  supervisor.Start();
  EXPECT_THAT(std::string(supervisor.WaitUntilServing().message()),
              HasSubstr("worker 0: ended with signal 11"));
}

TEST(Supervisor, GivesUpOnAChildThatNeverGetsReady) {
  SupervisorOptions options = Shell();
  options.start_timeout = absl::Milliseconds(50);
  Supervisor supervisor(options, {Member("worker 0", 0, 0, "exec sleep 60")});
  supervisor.Start();
  const absl::Status status = supervisor.WaitUntilServing();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(status.message()), HasSubstr("worker 0: not ready within 50ms"));
}

// The second start reports the address that it was handed, so the test can see that the first one
// was kept.
TEST(Supervisor, StartsAgainWhatDiedAndKeepsItsAddress) {
  std::mutex mutex;
  std::condition_variable changed;
  int starts = 0;
  std::string handed;
  MemberSpec worker = Member("worker 0", 1, 0, "");
  worker.arguments = [&](const Addresses& addresses) {
    const std::lock_guard<std::mutex> lock(mutex);
    ++starts;
    handed = addresses.contains("worker 0") ? addresses.at("worker 0") : "";
    changed.notify_all();
    return std::vector<std::string>{"-c", Serving("w:5")};
  };
  Supervisor supervisor(Shell(), {worker, Member("other", 0, 0, Serving("o:1"))});
  supervisor.Start();
  ASSERT_TRUE(supervisor.WaitUntilServing().ok());
  const pid_t other = supervisor.pids().at("other");
  kill(supervisor.pids().at("worker 0"), SIGKILL);
  {
    std::unique_lock<std::mutex> lock(mutex);
    ASSERT_TRUE(changed.wait_for(lock, std::chrono::seconds(20), [&] { return starts == 2; }));
    EXPECT_EQ(handed, "w:5");
  }
  EXPECT_EQ(supervisor.pids().at("other"), other);
  supervisor.RequestKill();
  EXPECT_EQ(supervisor.WaitUntilEnded().code(), absl::StatusCode::kCancelled);
}

TEST(Supervisor, KillsAChildThatDoesNotDrain) {
  MemberSpec stubborn =
      Member("gateway", 0, 0,
             "trap '' TERM; echo '{\"address\":\"g:1\"}' >&3; while :; do sleep 0.02; done");
  stubborn.drain_timeout = absl::Milliseconds(50);
  Supervisor supervisor(Shell(), {stubborn});
  supervisor.Start();
  ASSERT_TRUE(supervisor.WaitUntilServing().ok());
  supervisor.RequestStop();
  const absl::Status status = supervisor.WaitUntilEnded();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(status.message()), HasSubstr("gateway did not end within 50ms"));
}

TEST(Supervisor, StopsBeforeItIsReady) {
  Supervisor supervisor(Shell(), {Member("worker 0", 0, 0, "exec sleep 60")});
  supervisor.Start();
  supervisor.RequestStop();
  EXPECT_EQ(supervisor.WaitUntilServing().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(supervisor.WaitUntilEnded().ok());
}

TEST(Supervisor, PassesLoadingProgressOn) {
  SupervisorOptions options = Shell();
  std::vector<int64_t> seen;
  options.on_loading = [&](const std::string& name, int64_t loaded, int64_t total) {
    seen.push_back(loaded);
    EXPECT_EQ(total, 10);
  };
  Supervisor supervisor(options, {Member("worker 0", 0, 0,
                                         "echo '{\"loaded_bytes\":4,\"total_bytes\":10}' >&3; "
                                         "echo '{\"loaded_bytes\":10,\"total_bytes\":10}' >&3; " +
                                             Serving("w:1"))});
  supervisor.Start();
  ASSERT_TRUE(supervisor.WaitUntilServing().ok());
  EXPECT_THAT(seen, ElementsAre(4, 10));
}

TEST(Backoff, DoublesUpToItsBoundAndForgetsAfterHealth) {
  Backoff backoff(
      {.first = absl::Seconds(1), .longest = absl::Seconds(5), .healthy_after = absl::Minutes(1)});
  EXPECT_EQ(backoff.NextDelay(absl::ZeroDuration()), absl::Seconds(1));
  EXPECT_EQ(backoff.NextDelay(absl::Seconds(3)), absl::Seconds(2));
  EXPECT_EQ(backoff.NextDelay(absl::Seconds(3)), absl::Seconds(4));
  EXPECT_EQ(backoff.NextDelay(absl::Seconds(3)), absl::Seconds(5));
  EXPECT_EQ(backoff.NextDelay(absl::Minutes(2)), absl::Seconds(1));
}

TEST(ReadyLine, RoundTripsAFailure) {
  const auto line =
      ParseReadyLine(FailedLineText(absl::NotFoundError("no \"config.json\"\nthere")));
  ASSERT_TRUE(line.ok());
  EXPECT_EQ(std::get<FailedLine>(*line).status, absl::NotFoundError("no \"config.json\"\nthere"));
  EXPECT_FALSE(ParseReadyLine("{}").ok());
  EXPECT_FALSE(ParseReadyLine("nonsense").ok());
}

}  // namespace
}  // namespace tessera::supervisor
