// The KV blocks that a worker's prefix cache holds, as its events tell.
#ifndef TESSERA_ROUTER_POLICY_BLOCK_SET_H_
#define TESSERA_ROUTER_POLICY_BLOCK_SET_H_

#include <cstddef>
#include <cstdint>

#include "absl/container/flat_hash_set.h"
#include "absl/types/span.h"

namespace tessera::router {

struct BlockEvent {
  uint64_t hash = 0;     // first 8 bytes of the block's hash
  bool dropped = false;  // else it became findable
};

// A hint, not the truth: blocks beyond the bound are not known, and two blocks with one short hash
// are one. Not thread safe.
class BlockSet {
 public:
  static constexpr size_t kMaxBlocks = size_t{1} << 20;  // about 18 MB

  explicit BlockSet(size_t max_blocks = kMaxBlocks) : max_blocks_(max_blocks) {}

  // In order. are_all: the events tell of all blocks, so what was known before is forgotten.
  void Apply(absl::Span<const BlockEvent> events, bool are_all);

  // How many of the hashes, from the first on, are known without a gap.
  int64_t LeadingRun(absl::Span<const uint64_t> hashes) const;

  size_t size() const { return hashes_.size(); }

 private:
  size_t max_blocks_;
  absl::flat_hash_set<uint64_t> hashes_;
};

}  // namespace tessera::router

#endif  // TESSERA_ROUTER_POLICY_BLOCK_SET_H_
