// Encoded pictures by identity. An entry in use is pinned and does not count against the budget, so
// two big pictures that would not fit together never wait for each other; entries not in use are
// kept up to the budget, and the least recently used goes first.
#ifndef TESSERA_WORKER_ENGINE_EMBEDDING_CACHE_H_
#define TESSERA_WORKER_ENGINE_EMBEDDING_CACHE_H_

#include <cstdint>
#include <list>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "kernels/tensor_view.h"
#include "services/base/sha256.h"

namespace tessera::engine {

// The grid is part of the key: an identity that arrives with another grid is another picture.
struct EmbeddingKey {
  Digest identity{};
  int64_t tiles_across = 0;
  int64_t tiles_down = 0;

  friend bool operator==(const EmbeddingKey&, const EmbeddingKey&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const EmbeddingKey& key) {
    return H::combine(std::move(h), key.identity, key.tiles_across, key.tiles_down);
  }
};

// Features of one picture, row-major [rows, cols].
struct Embedding {
  std::vector<float> values;
  int64_t rows = 0;
  int64_t cols = 0;

  kernels::ConstMat Rows(int64_t first, int64_t count) const {
    return {values.data() + first * cols, count, cols, cols};
  }
  int64_t bytes() const { return static_cast<int64_t>(values.size() * sizeof(float)); }
};

// Not thread safe. Outlives its pins.
class EmbeddingCache {
  struct Entry;
  using Entries = std::list<Entry>;

 public:
  // Keeps one entry alive; movable. An empty pin holds nothing.
  class Pin {
   public:
    Pin() = default;
    Pin(Pin&& other) noexcept : cache_(other.cache_), entry_(other.entry_) {
      other.cache_ = nullptr;
    }
    Pin& operator=(Pin&& other) noexcept;
    ~Pin() { Reset(); }
    void Reset();  // unpins
    explicit operator bool() const { return cache_ != nullptr; }
    const Embedding& operator*() const;
    const Embedding* operator->() const { return &**this; }

   private:
    friend class EmbeddingCache;
    Pin(EmbeddingCache* cache, Entries::iterator entry) : cache_(cache), entry_(entry) {}
    EmbeddingCache* cache_ = nullptr;
    Entries::iterator entry_;
  };

  explicit EmbeddingCache(int64_t budget_bytes) : budget_bytes_(budget_bytes) {}
  EmbeddingCache(const EmbeddingCache&) = delete;
  EmbeddingCache& operator=(const EmbeddingCache&) = delete;

  std::optional<Pin> Find(const EmbeddingKey& key);
  // An entry of that key that is here already stays, and is the one pinned.
  Pin Insert(const EmbeddingKey& key, Embedding embedding);

  int64_t pinned_bytes() const { return pinned_bytes_; }
  int64_t unpinned_bytes() const { return unpinned_bytes_; }

 private:
  struct Entry {
    EmbeddingKey key;
    Embedding embedding;
    int64_t pins = 0;
  };

  Pin PinEntry(Entries::iterator entry);
  void Unpin(Entries::iterator entry);

  const int64_t budget_bytes_;
  int64_t pinned_bytes_ = 0;
  int64_t unpinned_bytes_ = 0;
  Entries pinned_;
  Entries unpinned_;  // least recently used first
  absl::flat_hash_map<EmbeddingKey, Entries::iterator> by_key_;
};

}  // namespace tessera::engine

#endif  // TESSERA_WORKER_ENGINE_EMBEDDING_CACHE_H_
