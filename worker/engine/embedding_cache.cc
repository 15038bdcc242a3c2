#include "worker/engine/embedding_cache.h"

#include <utility>

#include "services/base/check.h"

namespace tessera::engine {

EmbeddingCache::Pin& EmbeddingCache::Pin::operator=(Pin&& other) noexcept {
  if (this == &other) return *this;
  Reset();
  cache_ = std::exchange(other.cache_, nullptr);
  entry_ = other.entry_;
  return *this;
}

void EmbeddingCache::Pin::Reset() {
  if (EmbeddingCache* cache = std::exchange(cache_, nullptr)) cache->Unpin(entry_);
}

const Embedding& EmbeddingCache::Pin::operator*() const {
  TESSERA_CHECK(cache_ != nullptr);
  return entry_->embedding;
}

std::optional<EmbeddingCache::Pin> EmbeddingCache::Find(const EmbeddingKey& key) {
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return std::nullopt;
  return PinEntry(found->second);
}

EmbeddingCache::Pin EmbeddingCache::Insert(const EmbeddingKey& key, Embedding embedding) {
  if (std::optional<Pin> known = Find(key)) return *std::move(known);
  unpinned_.push_back({key, std::move(embedding), 0});
  const auto entry = std::prev(unpinned_.end());
  unpinned_bytes_ += entry->embedding.bytes();
  by_key_.emplace(key, entry);
  return PinEntry(entry);
}

EmbeddingCache::Pin EmbeddingCache::PinEntry(Entries::iterator entry) {
  if (entry->pins++ == 0) {
    pinned_.splice(pinned_.end(), unpinned_, entry);
    unpinned_bytes_ -= entry->embedding.bytes();
    pinned_bytes_ += entry->embedding.bytes();
  }
  return Pin(this, entry);
}

void EmbeddingCache::Unpin(Entries::iterator entry) {
  if (--entry->pins > 0) return;
  unpinned_.splice(unpinned_.end(), pinned_, entry);
  pinned_bytes_ -= entry->embedding.bytes();
  unpinned_bytes_ += entry->embedding.bytes();
  while (unpinned_bytes_ > budget_bytes_) {
    unpinned_bytes_ -= unpinned_.front().embedding.bytes();
    by_key_.erase(unpinned_.front().key);
    unpinned_.pop_front();
  }
}

}  // namespace tessera::engine
