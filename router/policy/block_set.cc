#include "router/policy/block_set.h"

#include <algorithm>

namespace tessera::router {

void BlockSet::Apply(absl::Span<const BlockEvent> events, bool are_all) {
  if (are_all) {
    hashes_.clear();
  }
  for (const BlockEvent& event : events) {
    if (event.dropped) {
      hashes_.erase(event.hash);
    } else if (hashes_.size() < max_blocks_) {
      hashes_.insert(event.hash);
    }
  }
}

int64_t BlockSet::LeadingRun(absl::Span<const uint64_t> hashes) const {
  const auto gap = std::find_if(hashes.begin(), hashes.end(),
                                [this](uint64_t hash) { return !hashes_.contains(hash); });
  return gap - hashes.begin();
}

}  // namespace tessera::router
