#include "services/rpc/ready_line.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

namespace tessera::rpc {
namespace {

TEST(ReadyLine, WritesOneJsonLineAndCloses) {
  int pipe_fds[2];
  ASSERT_EQ(pipe(pipe_fds), 0);
  ASSERT_TRUE(WriteReadyLine(pipe_fds[1], "127.0.0.1:7400", "127.0.0.1:9000").ok());
  char buffer[256];
  const ssize_t count = read(pipe_fds[0], buffer, sizeof buffer);
  EXPECT_EQ(std::string(buffer, static_cast<size_t>(count)),
            "{\"address\":\"127.0.0.1:7400\",\"metrics_address\":\"127.0.0.1:9000\"}\n");
  EXPECT_EQ(read(pipe_fds[0], buffer, sizeof buffer), 0)
      << "the descriptor is closed: the reader sees the end";
  close(pipe_fds[0]);
}

TEST(ReadyLine, NoDescriptorIsFine) { EXPECT_TRUE(WriteReadyLine(-1, "127.0.0.1:1").ok()); }

TEST(ReadyLine, AVanishedSupervisorIsAnError) {
  signal(SIGPIPE, SIG_IGN);
  int pipe_fds[2];
  ASSERT_EQ(pipe(pipe_fds), 0);
  close(pipe_fds[0]);
  EXPECT_EQ(WriteReadyLine(pipe_fds[1], "127.0.0.1:1").code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace tessera::rpc
