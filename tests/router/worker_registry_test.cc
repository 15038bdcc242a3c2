#include "router/worker_registry.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/support/fake_clock.h"

namespace tessera::router {
namespace {

WorkerDescription Worker(const std::string& id, const std::string& address = "127.0.0.1:1") {
  WorkerDescription description;
  description.id = WorkerId(id);
  description.address = address;
  description.model_revision = "revision";
  description.numerics = "bf16/avx2";
  return description;
}

class WorkerRegistryTest : public ::testing::Test {
 protected:
  testing::FakeClock clock_;
  WorkerRegistry registry_{absl::Seconds(5), clock_};
};

TEST_F(WorkerRegistryTest, KeepsAWorkerThatRenewsItsLease) {
  ASSERT_TRUE(registry_.Register(Worker("a"), {}).ok());
  for (int i = 0; i < 4; ++i) {
    clock_.Advance(absl::Seconds(4));
    ASSERT_TRUE(registry_.Heartbeat(WorkerId("a"), {}, false).ok());
  }
  EXPECT_EQ(registry_.Snapshot().workers.size(), 1u);
}

TEST_F(WorkerRegistryTest, DropsASilentWorkerAndMakesANewEpoch) {
  const uint64_t joined = *registry_.Register(Worker("a"), {});
  clock_.Advance(absl::Seconds(6));
  const ClusterSnapshot snapshot = registry_.Snapshot();
  EXPECT_TRUE(snapshot.workers.empty());
  EXPECT_EQ(snapshot.epoch, joined + 1);
  EXPECT_EQ(registry_.Heartbeat(WorkerId("a"), {}, false).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(WorkerRegistryTest, RefusesTheIdOfALiveWorkerFromAnotherAddress) {
  ASSERT_TRUE(registry_.Register(Worker("a", "host:1"), {}).ok());
  EXPECT_EQ(registry_.Register(Worker("a", "host:2"), {}).status().code(),
            absl::StatusCode::kAlreadyExists);
  clock_.Advance(absl::Seconds(6));
  EXPECT_TRUE(registry_.Register(Worker("a", "host:2"), {}).ok());
}

TEST_F(WorkerRegistryTest, ALaterStartTakesTheIdAtOnceAndTheEarlierCannotTakeItBack) {
  WorkerDescription first = Worker("a", "host:1");
  first.started_at_ms = 100;
  WorkerDescription second = Worker("a", "host:2");
  second.started_at_ms = 200;
  ASSERT_TRUE(registry_.Register(first, {}).ok());
  ASSERT_TRUE(registry_.Register(second, {}).ok());
  EXPECT_EQ(registry_.Snapshot().workers[0].description.address, "host:2");
  EXPECT_EQ(registry_.Heartbeat(WorkerId("a"), {}, false, 100).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(registry_.Register(first, {}).status().code(), absl::StatusCode::kAlreadyExists);
  registry_.Deregister(WorkerId("a"), 100);
  EXPECT_TRUE(registry_.Heartbeat(WorkerId("a"), {}, false, 200).ok());
  registry_.Deregister(WorkerId("a"), 200);
  EXPECT_TRUE(registry_.Snapshot().workers.empty());
}

TEST_F(WorkerRegistryTest, ARestartAtTheSameAddressEndsDraining) {
  ASSERT_TRUE(registry_.Register(Worker("a"), {}).ok());
  ASSERT_TRUE(registry_.Heartbeat(WorkerId("a"), {}, true).ok());
  ASSERT_TRUE(registry_.Heartbeat(WorkerId("a"), {}, false).ok());
  EXPECT_TRUE(registry_.Snapshot().workers[0].draining) << "draining is for good";
  ASSERT_TRUE(registry_.Register(Worker("a"), {}).ok());
  EXPECT_FALSE(registry_.Snapshot().workers[0].draining);
}

TEST_F(WorkerRegistryTest, ReservationsCountUntilTheNextHeartbeat) {
  ASSERT_TRUE(registry_.Register(Worker("a"), {}).ok());
  registry_.Reserve(WorkerId("a"), 100);
  registry_.Reserve(WorkerId("a"), 20);
  registry_.Reserve(WorkerId("unknown"), 20);
  EXPECT_EQ(registry_.Snapshot().workers[0].reserved_tokens, 120);
  EXPECT_EQ(registry_.Snapshot().workers[0].reserved_requests, 2);
  WorkerLoad load;
  load.outstanding_tokens = 120;
  ASSERT_TRUE(registry_.Heartbeat(WorkerId("a"), load, false).ok());
  EXPECT_EQ(registry_.Snapshot().workers[0].reserved_tokens, 0);
  EXPECT_EQ(registry_.Snapshot().workers[0].load.outstanding_tokens, 120);
}

TEST_F(WorkerRegistryTest, DeregisteringUnknownIdsChangesNothing) {
  const uint64_t joined = *registry_.Register(Worker("a"), {});
  registry_.Deregister(WorkerId("b"));
  EXPECT_EQ(registry_.epoch(), joined);
  registry_.Deregister(WorkerId("a"));
  EXPECT_EQ(registry_.epoch(), joined + 1);
  EXPECT_TRUE(registry_.Snapshot().workers.empty());
}

TEST_F(WorkerRegistryTest, NamesTheFieldThatIsWrong) {
  WorkerDescription nameless = Worker("");
  EXPECT_EQ(registry_.Register(nameless, {}).status(),
            absl::InvalidArgumentError("worker_id is empty"));
  WorkerDescription homeless = Worker("a", "");
  EXPECT_EQ(registry_.Register(homeless, {}).status(),
            absl::InvalidArgumentError("address is empty"));
  EXPECT_EQ(registry_.Register(Worker(std::string(129, 'x')), {}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(WorkerRegistryTest, ServesManyThreads) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      const std::string id = "worker " + std::to_string(t);
      for (int i = 0; i < 200; ++i) {
        ASSERT_TRUE(registry_.Register(Worker(id), {}).ok());
        ASSERT_TRUE(registry_.Heartbeat(WorkerId(id), {}, false).ok());
        registry_.Reserve(WorkerId(id), 1);
        registry_.Snapshot();
        registry_.Deregister(WorkerId(id));
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_TRUE(registry_.Workers().empty());
  EXPECT_EQ(registry_.epoch(), 1u + 4 * 200 * 2);
}

}  // namespace
}  // namespace tessera::router
