#include "worker/engine/embedding_cache.h"

#include <optional>

#include "gtest/gtest.h"

namespace tessera::engine {
namespace {

EmbeddingKey Key(uint8_t fill) {
  EmbeddingKey key{{}, 1, 1};
  key.identity.fill(fill);
  return key;
}

// 100 bytes, all values equal to `value`.
Embedding Features(float value) { return {std::vector<float>(25, value), 5, 5}; }

TEST(EmbeddingCache, FindsWhatWasInsertedAndIsNotPinnedTwice) {
  EmbeddingCache cache(1000);
  EXPECT_FALSE(cache.Find(Key(1)).has_value());
  { EmbeddingCache::Pin pin = cache.Insert(Key(1), Features(7)); }
  std::optional<EmbeddingCache::Pin> found = cache.Find(Key(1));
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ((*found)->values[3], 7);
  EXPECT_EQ(cache.pinned_bytes(), 100);
  EXPECT_EQ(cache.unpinned_bytes(), 0);
}

TEST(EmbeddingCache, AnotherGridIsAnotherPicture) {
  EmbeddingCache cache(1000);
  cache.Insert({Key(1).identity, 1, 2}, Features(7));
  EXPECT_FALSE(cache.Find({Key(1).identity, 2, 1}).has_value());
}

TEST(EmbeddingCache, EvictsTheLeastRecentlyUsedBeyondTheBudget) {
  EmbeddingCache cache(250);
  cache.Insert(Key(1), Features(1));
  cache.Insert(Key(2), Features(2));
  cache.Find(Key(1));  // used again: now the newest
  cache.Insert(Key(3), Features(3));
  EXPECT_FALSE(cache.Find(Key(2)).has_value());
  EXPECT_TRUE(cache.Find(Key(1)).has_value());
  EXPECT_TRUE(cache.Find(Key(3)).has_value());
  EXPECT_EQ(cache.unpinned_bytes(), 200);
}

TEST(EmbeddingCache, PinnedEntriesLiveBeyondTheBudget) {
  EmbeddingCache cache(150);
  EmbeddingCache::Pin first = cache.Insert(Key(1), Features(1));
  EmbeddingCache::Pin second = cache.Insert(Key(2), Features(2));
  EmbeddingCache::Pin third = cache.Insert(Key(3), Features(3));
  EXPECT_EQ(cache.pinned_bytes(), 300);
  EXPECT_EQ(first->values[0], 1);
  EXPECT_EQ(second->values[0], 2);
  second.Reset();
  first.Reset();  // the newer one stays
  EXPECT_FALSE(cache.Find(Key(2)).has_value());
  EXPECT_TRUE(cache.Find(Key(1)).has_value());
  EXPECT_EQ(third->values[0], 3);
}

TEST(EmbeddingCache, AnEntryLargerThanTheBudgetGoesWhenUnpinned) {
  EmbeddingCache cache(0);
  EmbeddingCache::Pin pin = cache.Insert(Key(1), Features(1));
  EXPECT_TRUE(cache.Find(Key(1)).has_value());
  pin.Reset();
  EXPECT_FALSE(cache.Find(Key(1)).has_value());
  EXPECT_EQ(cache.pinned_bytes() + cache.unpinned_bytes(), 0);
}

TEST(EmbeddingCache, ASecondInsertPinsTheFirstEntry) {
  EmbeddingCache cache(1000);
  EmbeddingCache::Pin first = cache.Insert(Key(1), Features(1));
  EmbeddingCache::Pin second = cache.Insert(Key(1), Features(2));
  EXPECT_EQ(&*first, &*second);
  EXPECT_EQ(cache.pinned_bytes(), 100);
}

TEST(EmbeddingCache, PinsMove) {
  EmbeddingCache cache(0);
  EmbeddingCache::Pin pin = cache.Insert(Key(1), Features(1));
  EmbeddingCache::Pin other = std::move(pin);
  EXPECT_FALSE(static_cast<bool>(pin));  // NOLINT(bugprone-use-after-move): the promise under test
  pin = std::move(other);
  EXPECT_EQ(pin->values[0], 1);
  pin = EmbeddingCache::Pin();
  EXPECT_EQ(cache.pinned_bytes(), 0);
}

}  // namespace
}  // namespace tessera::engine
