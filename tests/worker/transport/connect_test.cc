// Which back end a name leads to.
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/worker/transport/local_rendezvous.h"
#include "worker/transport/transport.h"

namespace tessera::transport {
namespace {

// What each rank says in a round instead of its own word.
using Change = std::function<std::string(int rank, std::string_view round, std::string_view mine)>;

struct Outcome {
  std::vector<absl::Status> statuses;  // by rank
  std::set<std::string> rounds;
};

// Connects two ranks, and has them meet at a barrier if both succeed.
Outcome ConnectTwo(const std::string& back_end, const Change& change,
                   absl::Duration patience = absl::Seconds(20)) {
  Outcome outcome;
  outcome.statuses.resize(2);
  LocalRendezvous rendezvous(2);
  std::mutex mutex;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 2; ++rank) {
    threads.emplace_back([&, rank] {
      ConnectOptions options{.rank = rank, .size = 2, .round = "epoch 7"};
      options.deadline = absl::Now() + patience;
      options.rendezvous = [&, rank, meet = rendezvous.ForRank(rank)](
                               std::string_view round, std::string_view mine, absl::Time deadline) {
        {
          std::lock_guard<std::mutex> lock(mutex);
          outcome.rounds.insert(std::string(round));
        }
        return meet(round, change(rank, round, mine), deadline);
      };
      auto connected = Connect(back_end, options);
      outcome.statuses[rank] = connected.ok()
                                   ? (*connected)->Barrier(absl::Now() + absl::Seconds(20))
                                   : connected.status();
    });
  }
  for (std::thread& thread : threads) thread.join();
  return outcome;
}

std::string Unchanged(int, std::string_view, std::string_view mine) { return std::string(mine); }

// Rank 1 is on another host.
std::string OneIsElsewhere(int rank, std::string_view round, std::string_view mine) {
  const bool names_host = round == "epoch 7/shm/segments" && rank == 1;
  return names_host ? "elsewhere" + std::string(mine) : std::string(mine);
}

std::string OneOffersNothing(int rank, std::string_view round, std::string_view mine) {
  return round == "epoch 7/shm/segments" && rank == 1 ? "" : std::string(mine);
}

TEST(Connect, AutoTakesSharedMemoryOnOneHost) {
  const Outcome outcome = ConnectTwo("auto", Unchanged);
  EXPECT_TRUE(outcome.statuses[0].ok()) << outcome.statuses[0];
  EXPECT_TRUE(outcome.statuses[1].ok()) << outcome.statuses[1];
  EXPECT_EQ(outcome.rounds, (std::set<std::string>{"epoch 7/shm/segments", "epoch 7/shm/opened"}));
}

TEST(Connect, AutoTakesTcpWhereOneRankCannotShare) {
  for (const Change& change : {Change(OneIsElsewhere), Change(OneOffersNothing)}) {
    const Outcome outcome = ConnectTwo("auto", change);
    EXPECT_TRUE(outcome.statuses[0].ok()) << outcome.statuses[0];
    EXPECT_TRUE(outcome.statuses[1].ok()) << outcome.statuses[1];
    EXPECT_EQ(outcome.rounds.count("epoch 7/gloo/addresses"), 1u);
  }
}

TEST(Connect, ShmFailsOnAllRanksWhereOneCannotShare) {
  const Outcome outcome = ConnectTwo("shm", OneIsElsewhere);
  EXPECT_TRUE(absl::IsUnavailable(outcome.statuses[0])) << outcome.statuses[0];
  EXPECT_TRUE(absl::IsUnavailable(outcome.statuses[1])) << outcome.statuses[1];
}

TEST(Connect, GlooRefusesAddressesThatAreNone) {
  // Rank 1 got good ones and waits for rank 0 until its deadline.
  const Change nonsense = [](int rank, std::string_view, std::string_view mine) {
    return rank == 1 ? std::string(mine.size(), '\x7f') : std::string(mine);
  };
  const Outcome outcome = ConnectTwo("gloo", nonsense, absl::Seconds(1));
  EXPECT_FALSE(outcome.statuses[0].ok());
  EXPECT_FALSE(outcome.statuses[1].ok());
}

TEST(Connect, WaitsForAMemberUntilTheDeadline) {
  for (const char* back_end : {"auto", "shm", "gloo"}) {
    LocalRendezvous rendezvous(2);
    const auto connected = Connect(back_end, {.rank = 0,
                                              .size = 2,
                                              .rendezvous = rendezvous.ForRank(0),
                                              .deadline = absl::Now() + absl::Milliseconds(50)});
    EXPECT_TRUE(absl::IsDeadlineExceeded(connected.status())) << connected.status();
  }
}

TEST(Connect, GlooSaysThatAHostIsUnknown) {
  LocalRendezvous rendezvous(2);
  const auto connected = Connect("gloo", {.rank = 0,
                                          .size = 2,
                                          .rendezvous = rendezvous.ForRank(0),
                                          .deadline = absl::Now() + absl::Seconds(5),
                                          .bind_host = "not a host name"});
  EXPECT_TRUE(absl::IsUnavailable(connected.status())) << connected.status();
}

TEST(Connect, ASingleRankNeedsNoRendezvous) {
  for (const char* back_end : {"auto", "shm", "gloo"}) {
    auto connected = Connect(back_end, {});
    ASSERT_TRUE(connected.ok()) << connected.status();
    EXPECT_TRUE((*connected)->Barrier(absl::Now()).ok());
  }
}

TEST(Connect, NcclSaysWhyItIsNotThere) {
  auto connected = Connect("nccl", {.deadline = absl::Now() + absl::Seconds(60)});
  if (connected.ok()) {
    EXPECT_TRUE((*connected)->Barrier(absl::Now() + absl::Seconds(20)).ok());
  } else {
    EXPECT_TRUE(absl::IsUnimplemented(connected.status()) ||
                absl::IsUnavailable(connected.status()))
        << connected.status();
  }
}

TEST(Connect, RefusesWhatMakesNoSense) {
  LocalRendezvous rendezvous(2);
  const absl::Status unknown = Connect("tcp", {}).status();
  EXPECT_TRUE(absl::IsInvalidArgument(unknown));
  EXPECT_EQ(unknown.message(), "transport must be auto, shm, gloo or nccl; it is \"tcp\"");
  EXPECT_TRUE(absl::IsInvalidArgument(Connect("auto", {.rank = 1, .size = 1}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Connect("auto", {.rank = 0, .size = 0}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Connect("auto", {.rank = 0, .size = 2}).status()));
  EXPECT_TRUE(absl::IsInternal(
      Connect("gloo", {.size = 2,
                       .rendezvous = [](std::string_view, std::string_view,
                                        absl::Time) -> absl::StatusOr<std::vector<std::string>> {
                         return std::vector<std::string>{"alone"};
                       },
                       .deadline = absl::Now() + absl::Seconds(5)})
          .status()));
}

}  // namespace
}  // namespace tessera::transport
