#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/base/check.h"
#include "worker/kv/kv.h"

namespace tessera::kv {
namespace {

constexpr int32_t kNone = -1;

struct Block {
  int32_t references = 0;
  bool published = false;
  Digest hash{};
  // Neighbours in the list of cached blocks; kNone at its ends and outside it.
  int32_t older = kNone;
  int32_t newer = kNone;
};

}  // namespace

// A block is in exactly one of three states: referenced (references > 0), cached (in the list
// oldest … newest; published) or free (in free_blocks).
struct BlockPool::State {
  bool prefix_caching;
  std::vector<Block> blocks;
  std::vector<int32_t> free_blocks;  // the last one is handed out next
  absl::flat_hash_map<Digest, int32_t> by_hash;
  int32_t oldest = kNone;
  int32_t newest = kNone;
  int64_t num_cached = 0;
  Listener listener;

  void Tell(const Digest& hash, bool findable) const {
    if (listener) listener(hash, findable);
  }

  Block& At(int32_t block) {
    TESSERA_CHECK(block >= 0 && block < static_cast<int32_t>(blocks.size())) << "block " << block;
    return blocks[block];
  }

  void AppendToCached(int32_t id) {
    Block& block = blocks[id];
    block.older = newest;
    block.newer = kNone;
    (newest == kNone ? oldest : blocks[newest].newer) = id;
    newest = id;
    ++num_cached;
  }

  void RemoveFromCached(int32_t id) {
    Block& block = blocks[id];
    (block.older == kNone ? oldest : blocks[block.older].newer) = block.newer;
    (block.newer == kNone ? newest : blocks[block.newer].older) = block.older;
    block.older = block.newer = kNone;
    --num_cached;
  }

  int32_t EvictOldest() {
    const int32_t id = oldest;
    RemoveFromCached(id);
    by_hash.erase(blocks[id].hash);
    blocks[id].published = false;
    Tell(blocks[id].hash, false);
    return id;
  }
};

BlockPool::BlockPool(int64_t num_blocks, bool prefix_caching) : state_(std::make_unique<State>()) {
  TESSERA_CHECK(num_blocks > 0 && num_blocks <= INT32_MAX) << num_blocks;
  state_->prefix_caching = prefix_caching;
  state_->blocks.resize(num_blocks);
  for (int64_t id = num_blocks - 1; id >= 0; --id) {
    state_->free_blocks.push_back(static_cast<int32_t>(id));
  }
}

BlockPool::~BlockPool() = default;

absl::StatusOr<int32_t> BlockPool::Allocate() {
  int32_t id = kNone;
  if (!state_->free_blocks.empty()) {
    id = state_->free_blocks.back();
    state_->free_blocks.pop_back();
  } else if (state_->num_cached > 0) {
    id = state_->EvictOldest();
  } else {
    return absl::ResourceExhaustedError(
        absl::StrCat("all ", state_->blocks.size(), " KV blocks are in use"));
  }
  state_->blocks[id].references = 1;
  return id;
}

void BlockPool::AddReference(int32_t block) {
  TESSERA_CHECK(state_->At(block).references > 0) << "block " << block << " is not in use";
  ++state_->blocks[block].references;
}

void BlockPool::Release(int32_t block) {
  Block& entry = state_->At(block);
  TESSERA_CHECK(entry.references > 0) << "block " << block << " is not in use";
  if (--entry.references > 0) return;
  if (entry.published) {
    state_->AppendToCached(block);
  } else {
    state_->free_blocks.push_back(block);
  }
}

void BlockPool::Publish(int32_t block, const Digest& hash) {
  Block& entry = state_->At(block);
  TESSERA_CHECK(entry.references > 0) << "block " << block << " is not in use";
  if (!state_->prefix_caching) return;
  TESSERA_CHECK(!entry.published || entry.hash == hash)
      << "block " << block << " is published with other content";
  if (!state_->by_hash.try_emplace(hash, block).second) return;
  entry.published = true;
  entry.hash = hash;
  state_->Tell(hash, true);
}

std::optional<int32_t> BlockPool::FindAndReference(const Digest& hash) {
  const auto found = state_->by_hash.find(hash);
  if (found == state_->by_hash.end()) return std::nullopt;
  const int32_t id = found->second;
  Block& entry = state_->blocks[id];
  if (entry.references++ == 0) state_->RemoveFromCached(id);
  return id;
}

void BlockPool::ForgetPublished() {
  while (state_->num_cached > 0) state_->free_blocks.push_back(state_->EvictOldest());
  for (const auto& [hash, id] : state_->by_hash) {
    state_->blocks[id].published = false;
    state_->Tell(hash, false);
  }
  state_->by_hash.clear();
}

void BlockPool::SetListener(Listener listener) { state_->listener = std::move(listener); }

PoolCounts BlockPool::counts() const {
  PoolCounts counts;
  counts.total = static_cast<int64_t>(state_->blocks.size());
  counts.cached = state_->num_cached;
  counts.free = static_cast<int64_t>(state_->free_blocks.size());
  counts.used = counts.total - counts.cached - counts.free;
  return counts;
}

}  // namespace tessera::kv
