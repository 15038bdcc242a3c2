// Names of a prompt's KV blocks, as workers report theirs to the router.
#ifndef TESSERA_SERVICES_GATEWAY_DISPATCH_PROMPT_HASHES_H_
#define TESSERA_SERVICES_GATEWAY_DISPATCH_PROMPT_HASHES_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "services/base/sha256.h"

namespace tessera::v1 {
class PreparedPrompt;
}  // namespace tessera::v1

namespace tessera::gateway {

// Remembers what it has computed: tokens only come behind full blocks, which never change. Not
// thread safe.
class PromptHashes {
 public:
  static constexpr int64_t kMaxBlocks = 4096;  // hashes of more would make the placement the work

  // Short hashes (kv::ShortHash) of the leading full blocks, at most kMaxBlocks, in order. prompt:
  // the same in all calls, its token_ids are the prompt alone, identities have 32 bytes; generated:
  // the answer so far, which only grows. block_size_tokens below 1: none. The span holds until the
  // next call.
  absl::Span<const uint64_t> Of(const v1::PreparedPrompt& prompt,
                                absl::Span<const int32_t> generated, int64_t block_size_tokens);

 private:
  void AddBlock(const v1::PreparedPrompt& prompt, absl::Span<const int32_t> generated);

  int64_t block_size_tokens_ = 0;
  Digest last_{};  // of the last block, or the root
  std::vector<uint64_t> hashes_;
};

}  // namespace tessera::gateway

#endif  // TESSERA_SERVICES_GATEWAY_DISPATCH_PROMPT_HASHES_H_
