// What becomes of the others when the process of a rank is killed or stopped.
#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>

#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/worker/transport/process_group.h"
#include "worker/transport/transport.h"

namespace tessera::transport {
namespace {

// The back end, and the bytes from each rank to each.
using Case = std::tuple<std::string, int64_t>;

class ProcessDeath : public testing::TestWithParam<Case> {
 protected:
  static std::string back_end() { return std::get<0>(GetParam()); }
  static int64_t bytes() { return std::get<1>(GetParam()); }

  static absl::StatusOr<std::unique_ptr<Communicator>> ConnectRank(ProcessGroup& group, int rank,
                                                                   int size) {
    return Connect(back_end(), {.rank = rank,
                                .size = size,
                                .rendezvous = group.ForRank(rank),
                                .round = "test",
                                .deadline = absl::Now() + absl::Seconds(20)});
  }

  // Exchanges until that fails; each exchange may take `patience`.
  static absl::Status ExchangeUntilFailure(Communicator& rank, absl::Duration patience) {
    const std::vector<int64_t> sizes(rank.size(), bytes());
    std::vector<std::byte> send(bytes() * rank.size());
    std::vector<std::byte> receive(send.size());
    while (true) {
      const absl::Status status =
          rank.AllToAllV({send, sizes}, {absl::MakeSpan(receive), sizes}, absl::Now() + patience);
      if (!status.ok()) return status;
    }
  }

  // The body of a rank whose only part is to exchange. 0: it ended as the death of a peer.
  static int ExchangingRank(ProcessGroup& group, int rank, int size) {
    auto connected = ConnectRank(group, rank, size);
    // A peer may be connected, and break the communicator, before this rank has heard of all.
    if (!connected.ok()) return absl::IsUnavailable(connected.status()) ? 0 : 2;
    return absl::IsUnavailable(ExchangeUntilFailure(**connected, absl::Seconds(30))) ? 0 : 1;
  }
};

std::set<std::string> FilesIn(const char* folder, const std::string& part_of_name) {
  std::set<std::string> names;
  if (DIR* open = opendir(folder)) {
    while (const dirent* entry = readdir(open)) {
      if (std::string(entry->d_name).find(part_of_name) != std::string::npos) {
        names.insert(entry->d_name);
      }
    }
    closedir(open);
  }
  return names;
}

TEST_P(ProcessDeath, KilledWhileItExchanges) {
  constexpr absl::Duration kPatience = absl::Seconds(10);
  const std::set<std::string> open_before = FilesIn("/proc/self/fd", "");
  {
    ProcessGroup group(3);
    const pid_t survivor = group.Fork([&] { return ExchangingRank(group, 1, 3); });
    const pid_t victim = group.Fork([&] { return ExchangingRank(group, 2, 3); });
    auto rank = ConnectRank(group, 0, 3);
    ASSERT_TRUE(rank.ok()) << rank.status();
    absl::Time killed;
    std::thread killer([&] {
      absl::SleepFor(absl::Milliseconds(150));
      killed = absl::Now();
      kill(victim, SIGKILL);
    });
    const absl::Status status = ExchangeUntilFailure(**rank, kPatience);
    const absl::Time failed = absl::Now();
    killer.join();
    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    EXPECT_LT(failed - killed, kPatience / 5);
    EXPECT_EQ(group.Join(victim), -1);
    EXPECT_EQ(group.Join(survivor), 0);
  }
  EXPECT_EQ(FilesIn("/proc/self/fd", "").size(), open_before.size());
  EXPECT_TRUE(FilesIn("/dev/shm", "tessera").empty());
}

TEST_P(ProcessDeath, KilledRankIsNamed) {
  ProcessGroup group(2);
  const pid_t victim = group.Fork([&] { return ExchangingRank(group, 1, 2); });
  auto rank = ConnectRank(group, 0, 2);
  ASSERT_TRUE(rank.ok()) << rank.status();
  kill(victim, SIGKILL);
  EXPECT_EQ(group.Join(victim), -1);
  const absl::Status status = ExchangeUntilFailure(**rank, absl::Seconds(10));
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_NE(status.message().find("rank 1"), std::string::npos) << status;
}

TEST_P(ProcessDeath, StoppedRankEndsTheCallByItsDeadline) {
  ProcessGroup group(2);
  const pid_t stopped = group.Fork([&] { return ExchangingRank(group, 1, 2); });
  auto rank = ConnectRank(group, 0, 2);
  ASSERT_TRUE(rank.ok()) << rank.status();
  kill(stopped, SIGSTOP);
  int state = 0;
  ASSERT_EQ(waitpid(stopped, &state, WUNTRACED), stopped);
  ASSERT_TRUE(WIFSTOPPED(state));
  const absl::Time begin = absl::Now();
  const absl::Status status = ExchangeUntilFailure(**rank, absl::Milliseconds(300));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_LT(absl::Now() - begin, absl::Seconds(5));
  // It goes on and finds the communicator broken.
  kill(stopped, SIGCONT);
  EXPECT_EQ(group.Join(stopped), 0);
}

TEST_P(ProcessDeath, AnOrderlyEndIsSeenByThePeer) {
  ProcessGroup group(2);
  const pid_t peer = group.Fork([&] { return ExchangingRank(group, 1, 2); });
  auto rank = ConnectRank(group, 0, 2);
  ASSERT_TRUE(rank.ok()) << rank.status();
  rank->reset();
  EXPECT_EQ(group.Join(peer), 0);
}

INSTANTIATE_TEST_SUITE_P(BackEnds, ProcessDeath,
                         testing::Combine(testing::Values("shm", "gloo"),
                                          testing::Values(100, 8 << 20)),
                         [](const testing::TestParamInfo<Case>& info) {
                           return std::get<0>(info.param) + "_" +
                                  std::to_string(std::get<1>(info.param)) + "Bytes";
                         });

}  // namespace
}  // namespace tessera::transport
