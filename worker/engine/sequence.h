// What the step loop knows of one request.
#ifndef TESSERA_WORKER_ENGINE_SEQUENCE_H_
#define TESSERA_WORKER_ENGINE_SEQUENCE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "services/base/sha256.h"
#include "worker/engine/batch_builder.h"
#include "worker/engine/embedding_cache.h"
#include "worker/engine/engine.h"

namespace tessera::engine {

// What a sequence that only asks for blocks is to be told.
struct LeaseRequest {
  std::string id;
  absl::Duration duration;  // of the lease, from when it is granted
  Engine::LeaseCallback granted;
};

struct Sequence {
  // request.token_ids grows with the answer.
  Sequence(GenerationRequest request, std::unique_ptr<EventSink> sink, uint64_t arrival);

  int64_t num_tokens() const { return static_cast<int64_t>(request.token_ids.size()); }
  int64_t num_generated() const { return num_tokens() - request.num_prompt_tokens; }
  int64_t num_blocks() const { return static_cast<int64_t>(blocks.size()); }
  // Tokens whose KV is needed to reach max_tokens: the last one is never fed back.
  int64_t most_kv_tokens() const {
    return request.num_prompt_tokens + request.sampling.max_tokens - 1;
  }

  // Whether its turn comes before the other's.
  bool Precedes(const Sequence& other) const {
    if (request.priority != other.request.priority) {
      return request.priority > other.request.priority;
    }
    return arrival < other.arrival;
  }
  // Whether its K and V can be computed from what it holds.
  bool HasTiles() const;

  GenerationRequest request;
  std::unique_ptr<EventSink> sink;    // null if `lease` is set
  const uint64_t arrival;             // smaller is older; kept through preemptions
  const int64_t num_submitted;        // tokens that came with the request
  std::optional<LeaseRequest> lease;  // set: asks for the blocks of its tokens and computes nothing
  bool admitted_before = false;
  bool cancelled = false;
  absl::Time last_progress = absl::InfinitePast();  // when it was admitted or last gained a row
  int64_t num_cached_tokens = 0;  // prompt tokens whose KV was found at the first admission

  int64_t num_computed = 0;          // tokens whose KV is in `blocks`
  int64_t num_published = 0;         // leading blocks that were offered to the prefix cache
  std::vector<int32_t> blocks;       // one reference each
  std::vector<Digest> block_hashes;  // of leading full blocks, as far as they were asked for
  std::vector<ImageView> images;
  std::vector<EmbeddingCache::Pin> pins;  // one per picture; empty while it is not needed
  // With kv_export, per layer: rows before this one were handed over or are not wanted.
  std::vector<int64_t> exported;
};

// Hash of full block `block`, chained from the root. Remembers the hashes of the blocks before it.
const Digest& BlockHash(Sequence& sequence, int64_t block, int64_t block_size_tokens);

// Why the answer ends with the tokens that are there now; nullopt: it goes on.
std::optional<FinishReason> CompletionOf(const Sequence& sequence, int64_t context_tokens);

// Index of the first sequence (in the order of their turns) for whose sake nothing has happened
// since `now - timeout`: neither it nor one before it, which it waits for, has gained a row.
std::optional<int64_t> FirstStalled(absl::Span<const absl::Time> last_progress, absl::Time now,
                                    absl::Duration timeout);

}  // namespace tessera::engine

#endif  // TESSERA_WORKER_ENGINE_SEQUENCE_H_
