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

HeartbeatReport Draining() {
  HeartbeatReport report;
  report.draining = true;
  return report;
}

HeartbeatReport StartedAt(int64_t started_at_ms) {
  HeartbeatReport report;
  report.started_at_ms = started_at_ms;
  return report;
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
    ASSERT_TRUE(registry_.Heartbeat(WorkerId("a"), {}).ok());
  }
  EXPECT_EQ(registry_.Snapshot().workers.size(), 1u);
}

TEST_F(WorkerRegistryTest, DropsASilentWorkerAndMakesANewEpoch) {
  const uint64_t joined = *registry_.Register(Worker("a"), {});
  clock_.Advance(absl::Seconds(6));
  const ClusterSnapshot snapshot = registry_.Snapshot();
  EXPECT_TRUE(snapshot.workers.empty());
  EXPECT_EQ(snapshot.epoch, joined + 1);
  EXPECT_EQ(registry_.Heartbeat(WorkerId("a"), {}).status().code(), absl::StatusCode::kNotFound);
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
  EXPECT_EQ(registry_.Heartbeat(WorkerId("a"), StartedAt(100)).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(registry_.Register(first, {}).status().code(), absl::StatusCode::kAlreadyExists);
  registry_.Deregister(WorkerId("a"), 100);
  EXPECT_TRUE(registry_.Heartbeat(WorkerId("a"), StartedAt(200)).ok());
  registry_.Deregister(WorkerId("a"), 200);
  EXPECT_TRUE(registry_.Snapshot().workers.empty());
}

TEST_F(WorkerRegistryTest, ARestartAtTheSameAddressEndsDraining) {
  ASSERT_TRUE(registry_.Register(Worker("a"), {}).ok());
  ASSERT_TRUE(registry_.Heartbeat(WorkerId("a"), Draining()).ok());
  ASSERT_TRUE(registry_.Heartbeat(WorkerId("a"), {}).ok());
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
  HeartbeatReport report;
  report.load.outstanding_tokens = 120;
  ASSERT_TRUE(registry_.Heartbeat(WorkerId("a"), report).ok());
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

TEST_F(WorkerRegistryTest, KnowsThePrefixThatEventsTellOf) {
  WorkerDescription worker = Worker("a");
  worker.kv_block_size_tokens = 16;
  ASSERT_TRUE(registry_.Register(worker, {}).ok());
  const std::vector<uint64_t> hashes = {11, 12, 13, 14};
  const auto known = [&](int64_t block_size = 16) {
    return registry_.Snapshot(hashes, block_size).workers[0].known_prefix_tokens;
  };
  EXPECT_EQ(known(), 0);
  HeartbeatReport report;
  report.block_events = {{11}, {12}, {14}};
  report.block_events_are_all = true;
  ASSERT_TRUE(registry_.Heartbeat(WorkerId("a"), report).ok());
  EXPECT_EQ(known(), 32) << "13 is missing, so 14 does not help";
  EXPECT_EQ(known(32), 0) << "hashes of another block size";
  report.block_events = {{13}, {12, true}, {12}};
  report.block_events_are_all = false;
  ASSERT_TRUE(registry_.Heartbeat(WorkerId("a"), report).ok());
  EXPECT_EQ(known(), 64);
  report.block_events = {{11, true}};
  ASSERT_TRUE(registry_.Heartbeat(WorkerId("a"), report).ok());
  EXPECT_EQ(known(), 0);
  report.block_events = {{11}};
  report.block_events_are_all = true;
  ASSERT_TRUE(registry_.Heartbeat(WorkerId("a"), report).ok());
  EXPECT_EQ(known(), 16);
  ASSERT_TRUE(registry_.Register(worker, {}).ok());
  EXPECT_EQ(known(), 0) << "a new start has an empty cache";
}

TEST_F(WorkerRegistryTest, FollowsTheRanksPlaceInItsGroup) {
  GroupPlace place;
  place.group = "g";
  place.stages = 2;
  place.stage = 1;
  ASSERT_TRUE(registry_.Register(Worker("a"), {}, place).ok());
  EXPECT_EQ(registry_.Snapshot().workers[0].place.epoch, 0u);
  HeartbeatReport report;
  report.place = place;
  report.place->epoch = 7;
  ASSERT_TRUE(registry_.Heartbeat(WorkerId("a"), report).ok());
  ASSERT_TRUE(registry_.Heartbeat(WorkerId("a"), {}).ok()) << "says nothing of the place";
  const WorkerView worker = registry_.Snapshot().workers[0];
  EXPECT_EQ(worker.place.group, "g");
  EXPECT_EQ(worker.place.stage, 1);
  EXPECT_EQ(worker.place.epoch, 7u);
  place.stage = 2;
  EXPECT_EQ(registry_.Register(Worker("b"), {}, place).status(),
            absl::InvalidArgumentError("place.stage: 2 is not one of 2 stages"));
}

TEST(BlockSet, IsBounded) {
  BlockSet blocks(3);
  blocks.Apply({{1}, {2}, {3}, {4}}, false);
  EXPECT_EQ(blocks.size(), 3u);
  EXPECT_EQ(blocks.LeadingRun({1, 2, 3, 4}), 3);
  blocks.Apply({{2, true}, {4}}, false);
  EXPECT_EQ(blocks.LeadingRun({1, 2, 3, 4}), 1);
  EXPECT_EQ(blocks.LeadingRun({3, 4, 1}), 3);
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
        ASSERT_TRUE(registry_.Heartbeat(WorkerId(id), {}).ok());
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
