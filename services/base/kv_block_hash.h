// The hash of a KV block: what its content depends on, and nothing else. Workers find known
// prefixes by it, and gateways compute it to have a request placed where its prefix is known.
#ifndef TESSERA_SERVICES_BASE_KV_BLOCK_HASH_H_
#define TESSERA_SERVICES_BASE_KV_BLOCK_HASH_H_

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "services/base/sha256.h"

namespace tessera::kv {

// What a block's content depends on beyond the blocks before it.
struct BlockContent {
  absl::Span<const int32_t> token_ids;             // of a full block
  std::vector<std::pair<int64_t, Digest>> images;  // (offset of the picture's first token relative
                                                   // to the block's start, identity) that touch it
  int64_t num_generated_tokens = 0;  // trailing tokens of the block that were generated, not prompt
                                     // (their role is part of the hash)
};

// parent: hash of the block before, or the root.
Digest HashBlock(const Digest& parent, const BlockContent& content);
Digest RootHash(std::string_view cache_salt);

// The first 8 bytes, big endian: how routers and workers name a block to each other.
uint64_t ShortHash(const Digest& hash);

}  // namespace tessera::kv

#endif  // TESSERA_SERVICES_BASE_KV_BLOCK_HASH_H_
