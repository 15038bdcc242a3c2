#include "worker/service/block_log.h"

#include <utility>

#include "services/base/kv_block_hash.h"

namespace tessera::worker {

void BlockLog::Add(const Digest& digest, bool findable) {
  const uint64_t hash = kv::ShortHash(digest);
  std::lock_guard lock(mutex_);
  const bool changed = findable ? known_.insert(hash).second : known_.erase(hash) > 0;
  if (!changed || all_) return;
  if (changes_.size() >= max_changes_) {
    all_ = true;
    changes_.clear();
  } else {
    changes_.push_back({hash, !findable});
  }
}

BlockLog::Report BlockLog::Take() {
  std::lock_guard lock(mutex_);
  Report report;
  report.all = std::exchange(all_, false);
  if (report.all) {
    report.changes.reserve(known_.size());
    for (const uint64_t hash : known_) report.changes.push_back({hash, false});
  } else {
    report.changes = std::exchange(changes_, {});
  }
  return report;
}

void BlockLog::StartAnew() {
  std::lock_guard lock(mutex_);
  all_ = true;
  changes_.clear();
}

}  // namespace tessera::worker
