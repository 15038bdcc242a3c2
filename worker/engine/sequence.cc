#include "worker/engine/sequence.h"

#include <algorithm>
#include <utility>

#include "absl/algorithm/container.h"
#include "services/base/check.h"
#include "worker/kv/kv.h"

namespace tessera::engine {

Sequence::Sequence(GenerationRequest request_in, std::unique_ptr<EventSink> sink_in,
                   uint64_t arrival_in)
    : request(std::move(request_in)),
      sink(std::move(sink_in)),
      arrival(arrival_in),
      num_submitted(static_cast<int64_t>(request.token_ids.size())) {
  for (const PromptImage& image : request.images) {
    images.push_back({image.first_token, image.num_tokens, false});
  }
  pins.resize(images.size());
}

bool Sequence::HasTiles() const {
  return absl::c_none_of(request.images,
                         [](const PromptImage& image) { return image.tiles.empty(); });
}

const Digest& BlockHash(Sequence& sequence, int64_t block, int64_t block_size_tokens) {
  TESSERA_CHECK((block + 1) * block_size_tokens <= sequence.num_tokens()) << "block " << block;
  const GenerationRequest& request = sequence.request;
  std::vector<Digest>& hashes = sequence.block_hashes;
  while (static_cast<int64_t>(hashes.size()) <= block) {
    const int64_t begin = static_cast<int64_t>(hashes.size()) * block_size_tokens;
    const int64_t end = begin + block_size_tokens;
    kv::BlockContent content;
    content.token_ids = absl::MakeConstSpan(request.token_ids).subspan(begin, block_size_tokens);
    content.num_generated_tokens =
        std::clamp<int64_t>(end - request.num_prompt_tokens, 0, block_size_tokens);
    for (const PromptImage& image : request.images) {
      if (image.first_token < end && image.first_token + image.num_tokens > begin) {
        content.images.emplace_back(image.first_token - begin, image.identity);
      }
    }
    const Digest parent = hashes.empty() ? kv::RootHash(request.cache_salt) : hashes.back();
    hashes.push_back(kv::HashBlock(parent, content));
  }
  return hashes[block];
}

std::optional<FinishReason> CompletionOf(const Sequence& sequence, int64_t context_tokens) {
  const GenerationRequest& request = sequence.request;
  if (sequence.num_generated() > 0 && !request.sampling.ignore_eos &&
      absl::c_linear_search(request.stop_token_ids, request.token_ids.back())) {
    return FinishReason::kStopToken;
  }
  if (sequence.num_generated() >= request.sampling.max_tokens ||
      sequence.num_tokens() > context_tokens) {
    return FinishReason::kLength;
  }
  if (request.kv_export != nullptr && sequence.num_tokens() > sequence.num_submitted) {
    return FinishReason::kHandedOver;
  }
  return std::nullopt;
}

std::optional<int64_t> FirstStalled(absl::Span<const absl::Time> last_progress, absl::Time now,
                                    absl::Duration timeout) {
  absl::Time latest = absl::InfinitePast();
  for (size_t i = 0; i < last_progress.size(); ++i) {
    latest = std::max(latest, last_progress[i]);
    if (now - latest > timeout) return static_cast<int64_t>(i);
  }
  return std::nullopt;
}

}  // namespace tessera::engine
