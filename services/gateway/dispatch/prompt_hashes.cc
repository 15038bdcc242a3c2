#include "services/gateway/dispatch/prompt_hashes.h"

#include <algorithm>

#include "services/base/check.h"
#include "services/base/kv_block_hash.h"
#include "tessera/v1/worker.pb.h"

namespace tessera::gateway {
namespace {

Digest IdentityOf(const v1::PromptImage& image) {
  Digest identity{};
  TESSERA_CHECK(image.identity().size() == identity.size()) << "a picture has no identity";
  std::copy(image.identity().begin(), image.identity().end(), identity.begin());
  return identity;
}

}  // namespace

absl::Span<const uint64_t> PromptHashes::Of(const v1::PreparedPrompt& prompt,
                                            absl::Span<const int32_t> generated,
                                            int64_t block_size_tokens) {
  if (block_size_tokens < 1) return {};
  if (block_size_tokens != block_size_tokens_) {
    block_size_tokens_ = block_size_tokens;
    last_ = kv::RootHash(prompt.cache_salt());
    hashes_.clear();
  }
  const auto num_tokens = prompt.token_ids_size() + static_cast<int64_t>(generated.size());
  const int64_t num_blocks = std::min(num_tokens / block_size_tokens, kMaxBlocks);
  while (static_cast<int64_t>(hashes_.size()) < num_blocks) AddBlock(prompt, generated);
  return hashes_;
}

// Exactly as the worker's engine does: a token's role and the pictures that touch the block count.
void PromptHashes::AddBlock(const v1::PreparedPrompt& prompt, absl::Span<const int32_t> generated) {
  const int64_t begin = static_cast<int64_t>(hashes_.size()) * block_size_tokens_;
  const int64_t end = begin + block_size_tokens_;
  const int64_t num_prompt_tokens = prompt.token_ids_size();
  std::vector<int32_t> token_ids;
  token_ids.reserve(static_cast<size_t>(block_size_tokens_));
  for (int64_t i = begin; i < end; ++i) {
    token_ids.push_back(i < num_prompt_tokens
                            ? prompt.token_ids(static_cast<int>(i))
                            : generated[static_cast<size_t>(i - num_prompt_tokens)]);
  }
  kv::BlockContent content;
  content.token_ids = token_ids;
  content.num_generated_tokens =
      std::clamp<int64_t>(end - num_prompt_tokens, 0, block_size_tokens_);
  for (const v1::PromptImage& image : prompt.images()) {
    if (image.first_token() < end && image.first_token() + image.num_tokens() > begin) {
      content.images.emplace_back(image.first_token() - begin, IdentityOf(image));
    }
  }
  last_ = kv::HashBlock(last_, content);
  hashes_.push_back(kv::ShortHash(last_));
}

}  // namespace tessera::gateway
