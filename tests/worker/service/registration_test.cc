#include "worker/service/registration.h"

#include <algorithm>
#include <atomic>
#include <memory>

#include "gtest/gtest.h"
#include "tests/worker/service/fake_router.h"

namespace tessera::worker {
namespace {

using testing::FakeRouter;

WorkerDescription Description() {
  return {"w1", "127.0.0.1:7", "revision", "model", 4096, 16, 32, "bf16/generic"};
}

engine::EngineSnapshot Load() {
  engine::EngineSnapshot snapshot;
  snapshot.running_requests = 2;
  snapshot.queued_requests = 3;
  snapshot.outstanding_tokens = 400;
  snapshot.kv_blocks_total = 50;
  snapshot.kv_blocks_used = 6;
  return snapshot;
}

TEST(Registration, RegistersReportsLoadAndSaysGoodbye) {
  FakeRouter router;
  router.set_epoch(9);
  std::atomic<uint64_t> epoch{0};
  Registration registration(router.address(), Description(),
                            {Load, [&](uint64_t e) { epoch = e; }});
  ASSERT_TRUE(router.WaitUntil([](const auto& r) { return r.heartbeats().size() >= 3; }));
  EXPECT_EQ(epoch, 9u);
  ASSERT_EQ(router.registrations().size(), 1u);
  const v1::RegisterRequest request = router.registrations()[0];
  EXPECT_EQ(request.worker_id(), "w1");
  EXPECT_EQ(request.address(), "127.0.0.1:7");
  EXPECT_EQ(request.role(), v1::WORKER_ROLE_BOTH);
  EXPECT_EQ(request.model_revision(), "revision");
  EXPECT_EQ(request.model_name(), "model");
  EXPECT_EQ(request.context_tokens(), 4096);
  EXPECT_EQ(request.kv_block_size_tokens(), 16);
  EXPECT_EQ(request.numerics(), "bf16/generic");
  const v1::WorkerLoad load = router.heartbeats()[0].load();
  EXPECT_EQ(load.running_requests(), 2);
  EXPECT_EQ(load.queued_requests(), 3);
  EXPECT_EQ(load.max_queued_requests(), 32);
  EXPECT_EQ(load.outstanding_tokens(), 400);
  EXPECT_EQ(load.kv_blocks_total(), 50);
  EXPECT_EQ(load.kv_blocks_used(), 6);
  EXPECT_FALSE(router.heartbeats()[0].draining());
  registration.SetDraining();
  EXPECT_TRUE(router.WaitUntil([](const auto& r) { return r.heartbeats().back().draining(); }));
  registration.Stop();
  EXPECT_EQ(router.farewells(), std::vector<std::string>{"w1"});
}

TEST(Registration, SaysRolePlaceAndStart) {
  FakeRouter router;
  WorkerDescription description = Description();
  description.role = "decode";
  description.started_at_ms = 77;
  description.seat = {"g", 2, 3, 1, 2};
  std::atomic<uint64_t> standing{0};
  RegistrationHooks hooks{Load, nullptr};
  hooks.group_epoch = [&] { return standing.load(); };
  Registration registration(router.address(), description, hooks);
  ASSERT_TRUE(router.WaitUntil([](const auto& r) { return !r.heartbeats().empty(); }));
  const v1::RegisterRequest request = router.registrations()[0];
  EXPECT_EQ(request.role(), v1::WORKER_ROLE_DECODE);
  EXPECT_EQ(request.started_at_ms(), 77);
  EXPECT_EQ(request.place().group(), "g");
  EXPECT_EQ(request.place().stages(), 2);
  EXPECT_EQ(request.place().expert_ranks(), 3);
  EXPECT_EQ(request.place().stage(), 1);
  EXPECT_EQ(request.place().expert_rank(), 2);
  EXPECT_EQ(request.place().epoch(), 0u);
  standing = 6;
  registration.Hurry();
  EXPECT_TRUE(
      router.WaitUntil([](const auto& r) { return r.heartbeats().back().place().epoch() == 6; }));
}

TEST(Registration, ReportsBlocks) {
  FakeRouter router;
  BlockLog blocks;
  Digest hash{};
  hash[7] = 5;
  blocks.Add(hash, true);
  RegistrationHooks hooks{Load, nullptr};
  hooks.blocks = &blocks;
  Registration registration(router.address(), Description(), hooks);
  ASSERT_TRUE(router.WaitUntil([](const auto& r) { return r.heartbeats().size() >= 2; }));
  v1::HeartbeatRequest first = router.heartbeats()[0];
  EXPECT_TRUE(first.kv_events_are_all());
  ASSERT_EQ(first.kv_events_size(), 1);
  EXPECT_EQ(first.kv_events(0).hash(), 5u);
  EXPECT_FALSE(router.heartbeats()[1].kv_events_are_all());
  // A report that was lost is made up for.
  router.FailNext(1);
  const size_t seen = router.heartbeats().size();
  EXPECT_TRUE(router.WaitUntil([&](const auto& r) {
    const auto beats = r.heartbeats();
    return std::any_of(beats.begin() + static_cast<std::ptrdiff_t>(seen), beats.end(),
                       [](const auto& beat) { return beat.kv_events_are_all(); });
  }));
}

TEST(Registration, ComesBackWhenTheRouterHasForgottenIt) {
  FakeRouter router;
  std::atomic<int> times{0};
  std::atomic<uint64_t> epoch{0};
  Registration registration(router.address(), Description(), {Load, [&](uint64_t e) {
                                                                epoch = e;
                                                                ++times;
                                                              }});
  ASSERT_TRUE(router.WaitUntil([](const auto& r) { return !r.heartbeats().empty(); }));
  router.set_epoch(5);
  router.Forget();
  ASSERT_TRUE(router.WaitUntil([](const auto& r) { return r.registrations().size() >= 2; }));
  const size_t seen = router.heartbeats().size();
  ASSERT_TRUE(router.WaitUntil([&](const auto& r) { return r.heartbeats().size() > seen; }));
  EXPECT_EQ(times, 2);
  EXPECT_EQ(epoch, 5u);
}

TEST(Registration, TriesOnWhileTheRouterFails) {
  FakeRouter router;
  router.FailNext(3);
  Registration registration(router.address(), Description(), {Load, nullptr});
  ASSERT_TRUE(router.WaitUntil([](const auto& r) { return !r.heartbeats().empty(); }));
  EXPECT_EQ(router.registrations().size(), 4u);
  // A failing heartbeat is no reason to register again.
  router.FailNext(2);
  const size_t seen = router.heartbeats().size();
  ASSERT_TRUE(router.WaitUntil([&](const auto& r) { return r.heartbeats().size() > seen + 3; }));
  EXPECT_EQ(router.registrations().size(), 4u);
}

TEST(Registration, ARestartedRouterIsFoundAgain) {
  auto router = std::make_unique<FakeRouter>();
  const std::string address = router->address();
  Registration registration(address, Description(), {Load, nullptr});
  ASSERT_TRUE(router->WaitUntil([](const auto& r) { return !r.heartbeats().empty(); }));
  router.reset();
  router = std::make_unique<FakeRouter>(address);
  EXPECT_TRUE(router->WaitUntil([](const auto& r) { return r.registrations().size() == 1; }));
}

TEST(Registration, StopsWithoutARouter) {
  Registration registration("127.0.0.1:1", Description(), {Load, nullptr});
  registration.Stop();
}

TEST(RetryPause, GrowsToABoundAndVaries) {
  EXPECT_EQ(RetryPause(1, 0), absl::Milliseconds(50));
  EXPECT_EQ(RetryPause(1, 1), absl::Milliseconds(100));
  EXPECT_EQ(RetryPause(3, 1), absl::Milliseconds(400));
  EXPECT_EQ(RetryPause(6, 1), absl::Seconds(2));
  EXPECT_EQ(RetryPause(1'000'000, 0), absl::Seconds(1));
}

}  // namespace
}  // namespace tessera::worker
