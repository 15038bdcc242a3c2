#include "tests/worker/transport/conformance_suite.h"

#include <atomic>
#include <cstdint>
#include <numeric>
#include <thread>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/worker/transport/local_rendezvous.h"
#include "worker/transport/transport.h"

namespace tessera::transport {

MakeRanks ConnectAll(std::string back_end) {
  return [back_end](int size) {
    LocalRendezvous rendezvous(size);
    Ranks ranks(size);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size; ++rank) {
      threads.emplace_back([&, rank] {
        auto connected = Connect(back_end, {.rank = rank,
                                            .size = size,
                                            .rendezvous = rendezvous.ForRank(rank),
                                            .round = "test",
                                            .deadline = absl::Now() + absl::Seconds(30)});
        if (connected.ok()) {
          ranks[rank] = *std::move(connected);
        } else {
          ADD_FAILURE() << "rank " << rank << ": " << connected.status();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    return ranks;
  };
}

testing::internal::ParamGenerator<Group> GroupSizes(MakeRanks make) {
  std::vector<Group> groups;
  for (int size : {1, 2, 3, 4, 8}) groups.push_back({make, size});
  return testing::ValuesIn(groups);
}

std::string GroupName(const testing::TestParamInfo<Group>& info) {
  return std::to_string(info.param.size) + "Ranks";
}

void Conformance::SetUp() {
  ranks_ = GetParam().make(size());
  ASSERT_EQ(ranks_.size(), static_cast<size_t>(size()));
  for (const auto& rank : ranks_) ASSERT_NE(rank, nullptr);
}

void Conformance::OnAllRanks(const std::function<void(Communicator&)>& body) {
  std::vector<std::thread> threads;
  for (auto& rank : ranks_) {
    if (rank == nullptr) continue;
    threads.emplace_back([&body, communicator = rank.get()] { body(*communicator); });
  }
  for (std::thread& thread : threads) thread.join();
}

namespace {

// Far beyond what a call takes on a loaded machine.
absl::Time Soon() { return absl::Now() + absl::Seconds(20); }

// Byte i of message `number` from one rank to another: any mix-up of these changes it.
std::byte Content(int from, int to, int number, int64_t i) {
  return static_cast<std::byte>(from * 131 + to * 31 + number * 17 + i * 7 + (i >> 8));
}

void Fill(absl::Span<std::byte> bytes, int from, int to, int number) {
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = Content(from, to, number, i);
}

void ExpectContent(absl::Span<const std::byte> bytes, int from, int to, int number) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] != Content(from, to, number, i)) {
      ADD_FAILURE() << "message " << number << " from " << from << " to " << to << ": byte " << i;
      return;
    }
  }
}

// The buffers of one rank's part in an AllToAllV whose sizes SizeOf(from, to) gives.
struct Exchange {
  template <typename SizeOf>
  Exchange(const Communicator& rank, int number, SizeOf size_of) : me(rank.rank()), number(number) {
    for (int peer = 0; peer < rank.size(); ++peer) {
      send_sizes.push_back(size_of(me, peer));
      receive_sizes.push_back(size_of(peer, me));
    }
    send.resize(std::accumulate(send_sizes.begin(), send_sizes.end(), int64_t{0}));
    receive.resize(std::accumulate(receive_sizes.begin(), receive_sizes.end(), int64_t{0}));
    int64_t offset = 0;
    for (int peer = 0; peer < rank.size(); ++peer) {
      Fill(absl::MakeSpan(send).subspan(offset, send_sizes[peer]), me, peer, number);
      offset += send_sizes[peer];
    }
  }
  SendParts Send() const { return {send, send_sizes}; }
  RecvParts Receive() { return {absl::MakeSpan(receive), receive_sizes}; }
  void ExpectReceived() const {
    int64_t offset = 0;
    for (size_t peer = 0; peer < receive_sizes.size(); ++peer) {
      ExpectContent(absl::MakeConstSpan(receive).subspan(offset, receive_sizes[peer]), peer, me,
                    number);
      offset += receive_sizes[peer];
    }
  }

  int me;
  int number;
  std::vector<int64_t> send_sizes, receive_sizes;
  std::vector<std::byte> send, receive;
};

int64_t Ragged(int from, int to) { return (from * 5 + to * 3) % 4 == 0 ? 0 : 1 + from * 1000 + to; }

absl::Status ExchangeWithAll(Communicator& rank, absl::Duration patience) {
  Exchange exchange(rank, 0, [](int, int) { return int64_t{100}; });
  return rank.AllToAllV(exchange.Send(), exchange.Receive(), absl::Now() + patience);
}

TEST_P(Conformance, KnowsItsPlace) {
  for (int rank = 0; rank < size(); ++rank) {
    EXPECT_EQ(ranks_[rank]->rank(), rank);
    EXPECT_EQ(ranks_[rank]->size(), size());
  }
}

TEST_P(Conformance, ExchangesRaggedAndEmptyParts) {
  OnAllRanks([](Communicator& rank) {
    Exchange exchange(rank, 1, Ragged);
    EXPECT_TRUE(rank.AllToAllV(exchange.Send(), exchange.Receive(), Soon()).ok());
    exchange.ExpectReceived();
    Exchange empty(rank, 2, [](int, int) { return int64_t{0}; });
    EXPECT_TRUE(rank.AllToAllV(empty.Send(), empty.Receive(), Soon()).ok());
  });
}

TEST_P(Conformance, ExchangesManyTimesInARow) {
  OnAllRanks([](Communicator& rank) {
    for (int number = 0; number < 200; ++number) {
      Exchange exchange(rank, number, [number](int from, int to) {
        return static_cast<int64_t>((from * 7 + to * 11 + number * 13) % 97) * (number % 3);
      });
      const absl::Status status = rank.AllToAllV(exchange.Send(), exchange.Receive(), Soon());
      ASSERT_TRUE(status.ok()) << status;
      exchange.ExpectReceived();
    }
  });
}

TEST_P(Conformance, DoesWorkBetweenStartAndWait) {
  OnAllRanks([](Communicator& rank) {
    for (int number = 0; number < 20; ++number) {
      Exchange exchange(rank, number, Ragged);
      auto pending = rank.StartAllToAllV(exchange.Send(), exchange.Receive());
      Exchange meanwhile(rank, number + 1, Ragged);
      ASSERT_TRUE(pending->Wait(Soon()).ok());
      exchange.ExpectReceived();
    }
  });
}

TEST_P(Conformance, MovesMessagesBeyondAnyBuffer) {
  // All send before anybody receives what a back end could hold; two shapes in a row.
  const int64_t bytes = (size() == 2 ? int64_t{8} << 20 : int64_t{5} << 18) + 13;
  OnAllRanks([bytes](Communicator& rank) {
    for (int number = 0; number < 2; ++number) {
      Exchange exchange(rank, number,
                        [&](int from, int to) { return from == to ? 0 : bytes - to * number; });
      const absl::Status status = rank.AllToAllV(exchange.Send(), exchange.Receive(), Soon());
      ASSERT_TRUE(status.ok()) << status;
      exchange.ExpectReceived();
    }
  });
}

TEST_P(Conformance, KeepsTheOrderOfMessages) {
  constexpr int kMessages = 50;
  const auto bytes_of = [](int number) { return 1 + (number * 7919) % 30000; };
  OnAllRanks([&](Communicator& rank) {
    if (rank.size() < 2 || rank.rank() > 1) return;
    std::vector<std::byte> bytes;
    for (int number = 0; number < kMessages; ++number) {
      bytes.assign(bytes_of(number), std::byte{0});
      if (rank.rank() == 0) {
        Fill(absl::MakeSpan(bytes), 0, 1, number);
        ASSERT_TRUE(rank.Send(1, bytes, Soon()).ok());
      } else {
        ASSERT_TRUE(rank.Recv(0, absl::MakeSpan(bytes), Soon()).ok());
        ExpectContent(bytes, 0, 1, number);
      }
    }
  });
}

TEST_P(Conformance, BroadcastsFromEachRoot) {
  OnAllRanks([](Communicator& rank) {
    for (int root = 0; root < rank.size(); ++root) {
      std::vector<std::byte> bytes(10000 + root);
      if (rank.rank() == root) Fill(absl::MakeSpan(bytes), root, 0, 3);
      ASSERT_TRUE(rank.Broadcast(root, absl::MakeSpan(bytes), Soon()).ok());
      ExpectContent(bytes, root, 0, 3);
    }
  });
}

TEST_P(Conformance, GathersInTheOrderOfRanks) {
  OnAllRanks([](Communicator& rank) {
    constexpr size_t kBytes = 777;
    std::vector<std::byte> mine(kBytes);
    std::vector<std::byte> all(kBytes * rank.size());
    Fill(absl::MakeSpan(mine), rank.rank(), 0, 4);
    ASSERT_TRUE(rank.AllGather(mine, absl::MakeSpan(all), Soon()).ok());
    for (int peer = 0; peer < rank.size(); ++peer) {
      ExpectContent(absl::MakeConstSpan(all).subspan(peer * kBytes, kBytes), peer, 0, 4);
    }
    // In place: a rank's own part may be where it is to go.
    const auto own = absl::MakeSpan(all).subspan(rank.rank() * kBytes, kBytes);
    ASSERT_TRUE(rank.AllGather(own, absl::MakeSpan(all), Soon()).ok());
    ExpectContent(own, rank.rank(), 0, 4);
  });
}

TEST_P(Conformance, NobodyLeavesABarrierBeforeTheLastHasCome) {
  std::atomic<int> arrived{0};
  OnAllRanks([&](Communicator& rank) {
    for (int round = 1; round <= 20; ++round) {
      ++arrived;
      ASSERT_TRUE(rank.Barrier(Soon()).ok());
      EXPECT_GE(arrived.load(), round * rank.size());
    }
  });
}

TEST_P(Conformance, WaitsForALatePeer) {
  OnAllRanks([](Communicator& rank) {
    if (rank.rank() == rank.size() - 1) absl::SleepFor(absl::Milliseconds(150));
    EXPECT_TRUE(ExchangeWithAll(rank, absl::Seconds(20)).ok());
  });
}

TEST_P(Conformance, APeerThatIsTooLateEndsTheCallByItsDeadline) {
  if (size() < 2) return;
  std::vector<absl::Status> results(size());
  OnAllRanks([&](Communicator& rank) {
    if (rank.rank() == rank.size() - 1) return;  // never comes
    // Rank 0 gives up first; to the others its end may be what they see.
    const absl::Duration patience = absl::Milliseconds(rank.rank() == 0 ? 100 : 400);
    const absl::Time begin = absl::Now();
    results[rank.rank()] = ExchangeWithAll(rank, patience);
    EXPECT_LT(absl::Now() - begin, patience + absl::Seconds(2));
  });
  EXPECT_EQ(results[0].code(), absl::StatusCode::kDeadlineExceeded) << results[0];
  EXPECT_NE(results[0].message().find("rank"), std::string::npos) << results[0];
  for (int rank = 1; rank + 1 < size(); ++rank) {
    EXPECT_TRUE(absl::IsDeadlineExceeded(results[rank]) || absl::IsUnavailable(results[rank]))
        << results[rank];
  }
}

TEST_P(Conformance, ADeadPeerEndsTheCallsOfTheOthers) {
  if (size() < 2) return;
  const int dead = size() - 1;
  OnAllRanks([&](Communicator& rank) {
    ASSERT_TRUE(rank.Barrier(Soon()).ok());
    if (rank.rank() == dead) {
      absl::SleepFor(absl::Milliseconds(50));
      ranks_[dead].reset();
      return;
    }
    // Some wait already when it dies, some come after.
    absl::SleepFor(absl::Milliseconds(25 * rank.rank()));
    const absl::Time begin = absl::Now();
    const absl::Status status = ExchangeWithAll(rank, absl::Seconds(20));
    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    EXPECT_LT(absl::Now() - begin, absl::Seconds(10));
  });
  if (size() == 2) {
    const absl::Status status = ranks_[0]->Barrier(Soon());
    EXPECT_NE(status.message().find("rank 1"), std::string::npos) << status;
  }
}

TEST_P(Conformance, WhatASenderHadFinishedSurvivesItsEnd) {
  if (size() < 2) return;
  const int leaver = size() - 1;
  OnAllRanks([&](Communicator& rank) {
    Exchange exchange(rank, 9, Ragged);
    auto pending = rank.StartAllToAllV(exchange.Send(), exchange.Receive());
    EXPECT_TRUE(pending->Wait(Soon()).ok());
    exchange.ExpectReceived();
    if (rank.rank() == leaver) {
      pending.reset();
      ranks_[leaver].reset();
    }
  });
}

TEST_P(Conformance, AbortCancelsHereAndReachesThePeers) {
  OnAllRanks([](Communicator& rank) {
    ASSERT_TRUE(rank.Barrier(Soon()).ok());
    if (rank.rank() == 0) {
      std::thread aborter([&] {
        absl::SleepFor(absl::Milliseconds(50));
        rank.Abort();
        rank.Abort();
      });
      // The peers do not come before they see the end of rank 0: this waits until it is aborted.
      if (rank.size() > 1) {
        std::vector<std::byte> byte(1);
        const absl::Status status = rank.Recv(1, absl::MakeSpan(byte), Soon());
        EXPECT_TRUE(absl::IsCancelled(status)) << status;
      }
      aborter.join();
      EXPECT_TRUE(absl::IsCancelled(rank.Barrier(Soon())));
    } else {
      std::vector<std::byte> byte(1);
      const absl::Status status = rank.Recv(0, absl::MakeSpan(byte), Soon());
      EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    }
  });
}

TEST_P(Conformance, AfterAFailureEveryCallFailsAtOnce) {
  if (size() < 2) return;
  Communicator& rank = *ranks_[0];
  std::vector<std::byte> byte(1);
  const absl::Status first =
      rank.Recv(1, absl::MakeSpan(byte), absl::Now() + absl::Milliseconds(20));
  EXPECT_TRUE(absl::IsDeadlineExceeded(first)) << first;
  const absl::Time begin = absl::Now();
  EXPECT_FALSE(rank.Send(1, byte, Soon()).ok());
  EXPECT_FALSE(rank.Recv(1, absl::MakeSpan(byte), Soon()).ok());
  EXPECT_FALSE(rank.Broadcast(0, absl::MakeSpan(byte), Soon()).ok());
  EXPECT_FALSE(rank.Barrier(Soon()).ok());
  EXPECT_EQ(ExchangeWithAll(rank, absl::Seconds(20)), first);
  EXPECT_LT(absl::Now() - begin, absl::Seconds(2));
}

TEST_P(Conformance, AnExchangeGivenUpBreaksTheCommunicator) {
  if (size() < 2) return;
  {
    Exchange exchange(*ranks_[0], 0, [](int, int) { return int64_t{3} << 20; });
    auto pending = ranks_[0]->StartAllToAllV(exchange.Send(), exchange.Receive());
  }
  EXPECT_FALSE(ranks_[0]->Barrier(Soon()).ok());
  EXPECT_TRUE(absl::IsUnavailable(ranks_[1]->Barrier(Soon())));
}

TEST_P(Conformance, RefusesWhatDoesNotFit) {
  Communicator& rank = *ranks_[0];
  std::vector<std::byte> bytes(10);
  const std::vector<int64_t> sizes(size(), 10);  // too much by size() - 1 times, or a byte short
  std::vector<int64_t> short_sizes(size(), 0);
  short_sizes[0] = 9;
  EXPECT_TRUE(absl::IsInvalidArgument(
      rank.AllToAllV({bytes, short_sizes}, {absl::MakeSpan(bytes), sizes}, Soon())));
}

}  // namespace
}  // namespace tessera::transport
