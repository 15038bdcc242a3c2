#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "worker/kv/kv.h"

namespace tessera::kv {
namespace {

Digest Hash(uint32_t number) {
  Digest digest{};
  for (int i = 0; i < 4; ++i) digest[i] = static_cast<uint8_t>(number >> (8 * i));
  return digest;
}

TEST(BlockPool, HandsOutEachBlockOnceThenIsExhausted) {
  BlockPool pool(4, true);
  std::set<int32_t> blocks;
  for (int i = 0; i < 4; ++i) blocks.insert(*pool.Allocate());
  EXPECT_EQ(blocks, (std::set<int32_t>{0, 1, 2, 3}));
  EXPECT_EQ(pool.Allocate().status().code(), absl::StatusCode::kResourceExhausted);
  pool.Release(2);
  EXPECT_EQ(*pool.Allocate(), 2);
}

TEST(BlockPool, ReleasedBlocksAreFreeUnlessPublished) {
  BlockPool pool(3, true);
  const int32_t plain = *pool.Allocate();
  const int32_t published = *pool.Allocate();
  pool.Publish(published, Hash(1));
  pool.Release(plain);
  pool.Release(published);
  EXPECT_EQ(pool.counts().free, 2);
  EXPECT_EQ(pool.counts().cached, 1);
  EXPECT_EQ(pool.counts().used, 0);
  EXPECT_EQ(pool.FindAndReference(Hash(1)), published);
  EXPECT_EQ(pool.counts().used, 1);
  EXPECT_EQ(pool.FindAndReference(Hash(2)), std::nullopt);
}

TEST(BlockPool, TellsWhatBecomesFindableAndWhatNoLongerIs) {
  BlockPool pool(2, true);
  std::vector<std::pair<Digest, bool>> told;
  pool.SetListener([&](const Digest& hash, bool findable) { told.emplace_back(hash, findable); });
  const int32_t first = *pool.Allocate();
  const int32_t twin = *pool.Allocate();
  pool.Publish(first, Hash(1));
  pool.Publish(first, Hash(1));
  pool.Publish(twin, Hash(1));  // known already
  pool.Release(first);
  pool.Release(twin);
  EXPECT_EQ(told, (std::vector<std::pair<Digest, bool>>{{Hash(1), true}}));
  pool.Allocate().IgnoreError();
  pool.Allocate().IgnoreError();
  EXPECT_EQ(told.back(), (std::pair{Hash(1), false}));
  EXPECT_EQ(told.size(), 2u);
}

TEST(BlockPool, ForgetsWhatWasPublished) {
  BlockPool pool(3, true);
  std::set<Digest> findable;
  pool.SetListener([&](const Digest& hash, bool is_findable) {
    is_findable ? void(findable.insert(hash)) : void(findable.erase(hash));
  });
  const int32_t cached = *pool.Allocate();
  const int32_t used = *pool.Allocate();
  pool.Publish(cached, Hash(1));
  pool.Publish(used, Hash(2));
  pool.Release(cached);
  EXPECT_EQ(findable.size(), 2u);
  pool.ForgetPublished();
  EXPECT_TRUE(findable.empty());
  EXPECT_EQ(pool.counts().free, 2);
  EXPECT_EQ(pool.counts().used, 1);
  EXPECT_EQ(pool.FindAndReference(Hash(1)), std::nullopt);
  EXPECT_EQ(pool.FindAndReference(Hash(2)), std::nullopt);
  pool.Release(used);
  EXPECT_EQ(pool.counts().free, 3);
}

TEST(BlockPool, PublishedBlocksAreFoundWhileInUse) {
  BlockPool pool(2, true);
  const int32_t block = *pool.Allocate();
  pool.Publish(block, Hash(1));
  EXPECT_EQ(pool.FindAndReference(Hash(1)), block);
  pool.Release(block);
  EXPECT_EQ(pool.counts().used, 1);
  pool.Release(block);
  EXPECT_EQ(pool.counts().cached, 1);
}

TEST(BlockPool, EvictsTheLeastRecentlyUsedOnlyWhenNothingIsFree) {
  BlockPool pool(4, true);
  std::vector<int32_t> blocks;
  for (uint32_t i = 0; i < 3; ++i) {
    blocks.push_back(*pool.Allocate());
    pool.Publish(blocks.back(), Hash(i));
  }
  for (const int32_t i : {1, 0, 2}) pool.Release(blocks[i]);
  // Found and released again: now the newest.
  pool.Release(*pool.FindAndReference(Hash(1)));
  EXPECT_EQ(*pool.Allocate(), 3);
  EXPECT_EQ(*pool.Allocate(), blocks[0]);
  EXPECT_EQ(pool.FindAndReference(Hash(0)), std::nullopt);
  EXPECT_EQ(*pool.Allocate(), blocks[2]);
  EXPECT_EQ(*pool.Allocate(), blocks[1]);
  EXPECT_FALSE(pool.Allocate().ok());
}

TEST(BlockPool, TheOlderOfTwoEqualBlocksStaysFindable) {
  BlockPool pool(2, true);
  const int32_t first = *pool.Allocate();
  const int32_t second = *pool.Allocate();
  pool.Publish(first, Hash(1));
  pool.Publish(second, Hash(1));
  pool.Release(second);
  EXPECT_EQ(pool.counts().free, 1);
  EXPECT_EQ(pool.FindAndReference(Hash(1)), first);
}

TEST(BlockPool, PublishingTwiceChangesNothing) {
  BlockPool pool(1, true);
  const int32_t block = *pool.Allocate();
  pool.Publish(block, Hash(1));
  pool.Publish(block, Hash(1));
  pool.Release(block);
  EXPECT_EQ(pool.counts().cached, 1);
  EXPECT_EQ(*pool.Allocate(), block);
  EXPECT_EQ(pool.counts().cached, 0);
}

TEST(BlockPool, WithoutPrefixCachingNothingIsFound) {
  BlockPool pool(1, false);
  const int32_t block = *pool.Allocate();
  pool.Publish(block, Hash(1));
  EXPECT_EQ(pool.FindAndReference(Hash(1)), std::nullopt);
  pool.Release(block);
  EXPECT_EQ(pool.counts().free, 1);
}

TEST(BlockPoolDeathTest, BrokenCallersAreCaught) {
  BlockPool pool(2, true);
  EXPECT_DEATH(pool.Release(0), "not in use");
  EXPECT_DEATH(pool.AddReference(1), "not in use");
  EXPECT_DEATH(pool.Publish(0, Hash(0)), "not in use");
  EXPECT_DEATH(pool.Release(2), "block 2");
}

// The pool as plainly as it can be written.
struct NaivePool {
  explicit NaivePool(int count) {
    for (int i = 0; i < count; ++i) free.insert(i);
  }
  std::set<int32_t> free;
  std::deque<int32_t> cached;  // oldest first
  std::map<int32_t, int> references;
  std::map<int32_t, uint32_t> published;

  std::optional<int32_t> Find(uint32_t hash) const {
    for (const auto& [block, known] : published) {
      if (known == hash) return block;
    }
    return std::nullopt;
  }
  // What Allocate may return: any free block, else exactly the oldest cached one.
  bool MayAllocate(int32_t block) const {
    return free.empty() ? !cached.empty() && cached.front() == block : free.count(block) == 1;
  }
  void Allocate(int32_t block) {
    if (free.erase(block) == 0) {
      cached.pop_front();
      published.erase(block);
    }
    references[block] = 1;
  }
  void Release(int32_t block) {
    if (--references[block] > 0) return;
    references.erase(block);
    if (published.count(block)) {
      cached.push_back(block);
    } else {
      free.insert(block);
    }
  }
  void Reference(int32_t block) {
    if (references[block]++ > 0) return;
    cached.erase(std::find(cached.begin(), cached.end(), block));
  }
};

int32_t AnyUsed(const NaivePool& naive, std::mt19937& random) {
  auto it = naive.references.begin();
  std::advance(it, random() % naive.references.size());
  return it->first;
}

void ExpectSame(const BlockPool& pool, const NaivePool& naive, int size) {
  const PoolCounts counts = pool.counts();
  ASSERT_EQ(counts.total, size);
  ASSERT_EQ(counts.free, static_cast<int64_t>(naive.free.size()));
  ASSERT_EQ(counts.cached, static_cast<int64_t>(naive.cached.size()));
  ASSERT_EQ(counts.used, static_cast<int64_t>(naive.references.size()));
  ASSERT_EQ(counts.free + counts.cached + counts.used, counts.total);
}

void RandomWalk(uint32_t seed) {
  std::mt19937 random(seed);
  const int size = 1 + static_cast<int>(random() % 12);
  const uint32_t num_hashes = 1 + random() % 20;
  BlockPool pool(size, true);
  NaivePool naive(size);
  for (int step = 0; step < 2000; ++step) {
    const uint32_t choice = random() % 10;
    if (choice < 4) {
      const absl::StatusOr<int32_t> block = pool.Allocate();
      const bool possible = !naive.free.empty() || !naive.cached.empty();
      ASSERT_EQ(block.ok(), possible);
      if (possible) {
        // Never a block that someone refers to, and the eviction order is the naive one.
        ASSERT_EQ(naive.references.count(*block), 0u);
        ASSERT_TRUE(naive.MayAllocate(*block));
        naive.Allocate(*block);
      }
    } else if (choice < 6) {
      const uint32_t hash = random() % num_hashes;
      const std::optional<int32_t> found = pool.FindAndReference(Hash(hash));
      ASSERT_EQ(found, naive.Find(hash));
      if (found) naive.Reference(*found);
    } else if (!naive.references.empty()) {
      const int32_t block = AnyUsed(naive, random);
      if (choice == 6) {
        pool.AddReference(block);
        ++naive.references[block];
      } else if (choice == 7) {
        const uint32_t hash = random() % num_hashes;
        if (naive.published.count(block)) continue;  // content of a block never changes
        pool.Publish(block, Hash(hash));
        if (!naive.Find(hash)) naive.published[block] = hash;
      } else {
        pool.Release(block);
        naive.Release(block);
      }
    }
    ExpectSame(pool, naive, size);
  }
}

TEST(BlockPool, AgreesWithANaivePoolOnRandomCalls) {
  for (uint32_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(seed);
    ASSERT_NO_FATAL_FAILURE(RandomWalk(seed));
  }
}

}  // namespace
}  // namespace tessera::kv
