#include "services/cli/supervisor/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tessera::supervisor {
namespace {

using ::testing::ElementsAre;

constexpr int kSoonMs = 20'000;

ChildOptions Shell(const std::string& script) {
  return {.name = "shell", .program = "/bin/sh", .arguments = {"-c", script}};
}

std::vector<std::string> LinesUntilEnd(ChildProcess& child) {
  std::vector<std::string> lines;
  while (child.ready_poll_fd() >= 0) {
    pollfd watched{child.ready_poll_fd(), POLLIN, 0};
    if (poll(&watched, 1, kSoonMs) <= 0) {
      ADD_FAILURE() << "nothing came";
      break;
    }
    for (std::string& line : child.ReadReadyLines()) {
      lines.push_back(std::move(line));
    }
  }
  return lines;
}

TEST(ChildProcess, ReportsExitCodeAndSignal) {
  auto child = ChildProcess::Start(Shell("exit 7"));
  ASSERT_TRUE(child.ok()) << child.status();
  auto exit = child->WaitForExit(kSoonMs);
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->code, 7);
  EXPECT_EQ(exit->Describe(), "exit code 7");

  child = ChildProcess::Start(Shell("kill -9 $$"));
  ASSERT_TRUE(child.ok());
  exit = child->WaitForExit(kSoonMs);
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->signal, SIGKILL);
  EXPECT_EQ(exit->Describe(), "signal 9 (Killed)");
}

TEST(ChildProcess, DeliversReadyLines) {
  auto child =
      ChildProcess::Start(Shell("echo one >&3; printf 'two\\nthr' >&3; printf 'ee\\n' >&3"));
  ASSERT_TRUE(child.ok());
  EXPECT_THAT(LinesUntilEnd(*child), ElementsAre("one", "two", "three"));
}

TEST(ChildProcess, ClosesAPipeThatBringsNoLineBreak) {
  auto child = ChildProcess::Start(Shell("head -c 200000 /dev/zero >&3; sleep 60"));
  ASSERT_TRUE(child.ok());
  EXPECT_THAT(LinesUntilEnd(*child), ElementsAre());
}

TEST(ChildProcess, NamesAProgramThatIsMissing) {
  const auto child = ChildProcess::Start({.name = "x", .program = "/no/such/program"});
  EXPECT_EQ(child.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(child.status().message()), ::testing::HasSubstr("/no/such/program"));
}

TEST(ChildProcess, InheritsNoOtherDescriptorAndDefaultSignals) {
  signal(SIGPIPE, SIG_IGN);
  const int leaky = open("/dev/null", O_RDONLY);  // without O_CLOEXEC, on purpose
  ASSERT_GE(leaky, 0);
  const int output = memfd_create("output", MFD_CLOEXEC);
  ChildOptions options = Shell(
      "ls /proc/self/fd | tr '\\n' ' '; grep SigIgn /proc/self/status; grep SigBlk "
      "/proc/self/status");
  options.stdout_fd = output;
  auto child = ChildProcess::Start(options);
  ASSERT_TRUE(child.ok());
  ASSERT_TRUE(child->WaitForExit(kSoonMs).has_value());
  char buffer[512] = {};
  ASSERT_GT(pread(output, buffer, sizeof(buffer) - 1, 0), 0);
  // 4 is ls's own view of the folder.
  EXPECT_STREQ(buffer, "0 1 2 3 4 SigIgn:\t0000000000000000\nSigBlk:\t0000000000000000\n");
  close(output);
  close(leaky);
  signal(SIGPIPE, SIG_DFL);
}

TEST(ChildProcess, KillsTheChildWhenDestroyed) {
  pid_t pid = 0;
  {
    auto child = ChildProcess::Start(Shell("trap '' TERM; echo up >&3; exec sleep 60"));
    ASSERT_TRUE(child.ok());
    pid = child->pid();
    EXPECT_FALSE(child->TryReap().has_value());
  }
  EXPECT_NE(kill(pid, 0), 0);
}

TEST(ChildProcess, RunsInAProcessGroupOfItsOwn) {
  auto child = ChildProcess::Start(Shell("echo up >&3; exec sleep 60"));
  ASSERT_TRUE(child.ok());
  pollfd watched{child->ready_poll_fd(), POLLIN, 0};
  ASSERT_EQ(poll(&watched, 1, kSoonMs), 1);
  EXPECT_EQ(getpgid(child->pid()), child->pid());
  child->Signal(SIGTERM);
  const auto exit = child->WaitForExit(kSoonMs);
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->signal, SIGTERM);
}

}  // namespace
}  // namespace tessera::supervisor
