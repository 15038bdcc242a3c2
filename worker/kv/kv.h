// The paged KV cache of one rank: blocks with reference counts, block tables, and a prefix cache
// over a hash chain of full blocks. Decides only who owns which block; the bytes are written by
// kernels. Not thread safe: owned by the engine's step loop.
#ifndef TESSERA_WORKER_KV_KV_H_
#define TESSERA_WORKER_KV_KV_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/kernels.h"
#include "services/base/kv_block_hash.h"
#include "services/base/sha256.h"
#include "worker/model/model.h"

namespace tessera::kv {

// The memory: one allocation per layer, [num_blocks, block_bytes].
class KvStorage {
 public:
  KvStorage(const model::KvLayout& layout, int64_t block_size_tokens, int64_t num_blocks);
  ~KvStorage();
  KvStorage(const KvStorage&) = delete;
  KvStorage& operator=(const KvStorage&) = delete;
  absl::Span<const kernels::PagedKv> layers() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct PoolCounts {
  int64_t total = 0;
  int64_t used = 0;  // referenced
  int64_t cached =
      0;  // unreferenced, but findable by hash; reused oldest first when free ones run out
  int64_t free = 0;
};

class BlockPool {
 public:
  BlockPool(int64_t num_blocks, bool prefix_caching);
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  // A block with reference count 1, its content undefined. Evicts the least recently used cached
  // block if no free one is left. RESOURCE_EXHAUSTED: every block is referenced.
  absl::StatusOr<int32_t> Allocate();
  void AddReference(int32_t block);
  // At zero the block becomes cached (if it was published) or free.
  void Release(int32_t block);
  // Makes a full, written block findable. If the hash is known already, the older block stays the
  // one that is found.
  void Publish(int32_t block, const Digest& hash);
  // The block with this content, with one more reference; nullopt: not here.
  std::optional<int32_t> FindAndReference(const Digest& hash);
  // The contents are not to be found any more: cached blocks become free, referenced ones will.
  void ForgetPublished();
  PoolCounts counts() const;

  // Told of each hash that becomes findable and of each that no longer is; may be empty. Must not
  // call the pool.
  using Listener = std::function<void(const Digest& hash, bool findable)>;
  void SetListener(Listener listener);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tessera::kv

#endif  // TESSERA_WORKER_KV_KV_H_
