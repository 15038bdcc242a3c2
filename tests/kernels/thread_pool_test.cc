#include "kernels/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace tessera::kernels {
namespace {

TEST(ThreadPool, RunsEachWorkerOncePerCall) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.num_threads(), threads);
    std::vector<int> runs(static_cast<size_t>(threads), 0);
    for (int call = 0; call < 500; ++call) {
      pool.RunOnAll([&](int worker) { ++runs[static_cast<size_t>(worker)]; });
    }
    EXPECT_EQ(runs, std::vector<int>(static_cast<size_t>(threads), 500));
  }
}

TEST(ThreadPool, TheCallerIsWorkerZero) {
  ThreadPool pool(3);
  const std::thread::id caller = std::this_thread::get_id();
  std::vector<std::thread::id> ids(3);
  pool.RunOnAll([&](int worker) { ids[static_cast<size_t>(worker)] = std::this_thread::get_id(); });
  EXPECT_EQ(ids[0], caller);
  EXPECT_NE(ids[1], caller);
  EXPECT_NE(ids[2], ids[1]);
}

// Plain writes before a call are seen by the workers, and the workers' by the caller after it.
TEST(ThreadPool, OrdersMemoryAcrossForkAndJoin) {
  ThreadPool pool(4);
  std::vector<int64_t> values(4, 0);
  int64_t step = 0;
  for (int call = 0; call < 1000; ++call) {
    ++step;
    pool.RunOnAll([&](int worker) { values[static_cast<size_t>(worker)] += step; });
    for (const int64_t value : values) ASSERT_EQ(value, step * (step + 1) / 2);
  }
}

TEST(ThreadPool, WakesSleepersWhenNobodySpins) {
  ThreadPool pool(3, /*spin_micros=*/0);
  std::atomic<int> runs{0};
  for (int call = 0; call < 300; ++call) pool.RunOnAll([&](int) { runs.fetch_add(1); });
  EXPECT_EQ(runs.load(), 900);
}

// The caller's own share is over long before the others': it must sleep, and be woken.
TEST(ThreadPool, WaitsForASlowWorker) {
  ThreadPool pool(2, /*spin_micros=*/0);
  for (int call = 0; call < 20; ++call) {
    std::atomic<int64_t> sum{0};
    pool.RunOnAll([&](int worker) {
      for (int64_t i = 0; worker == 1 && i < 20000; ++i) sum.fetch_add(1);
    });
    EXPECT_EQ(sum.load(), 20000);
  }
}

TEST(ThreadPool, PoolsOfDifferentOwnersRunSideBySide) {
  std::vector<std::thread> owners;
  std::atomic<int> runs{0};
  for (int owner = 0; owner < 4; ++owner) {
    owners.emplace_back([&] {
      ThreadPool pool(3);
      for (int call = 0; call < 100; ++call) pool.RunOnAll([&](int) { runs.fetch_add(1); });
    });
  }
  for (std::thread& owner : owners) owner.join();
  EXPECT_EQ(runs.load(), 1200);
}

TEST(ThreadPool, EndsWithoutEverHavingRun) { ThreadPool pool(4); }

}  // namespace
}  // namespace tessera::kernels
