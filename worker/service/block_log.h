// Which KV blocks the prefix cache knows, as the router is told of them.
#ifndef TESSERA_WORKER_SERVICE_BLOCK_LOG_H_
#define TESSERA_WORKER_SERVICE_BLOCK_LOG_H_

#include <cstdint>
#include <mutex>
#include <unordered_set>
#include <vector>

#include "services/base/sha256.h"

namespace tessera::worker {

// Thread safe. The known blocks are at most the pool's; changes that wait are at most max_changes,
// and if there are more, the next report is a full one.
class BlockLog {
 public:
  explicit BlockLog(size_t max_changes = 4096) : max_changes_(max_changes) {}

  // As engine::EngineOptions::on_block.
  void Add(const Digest& hash, bool findable);

  struct Change {
    uint64_t hash = 0;  // as kv::ShortHash
    bool dropped = false;
  };
  struct Report {
    std::vector<Change> changes;
    bool all = false;  // they are all known blocks
  };
  // What came since the last call; the first report is a full one.
  Report Take();
  // The last report was lost, or its reader has forgotten: the next one is a full one.
  void StartAnew();

 private:
  const size_t max_changes_;
  std::mutex mutex_;  // guards all below
  std::unordered_set<uint64_t> known_;
  std::vector<Change> changes_;
  bool all_ = true;
};

}  // namespace tessera::worker

#endif  // TESSERA_WORKER_SERVICE_BLOCK_LOG_H_
