// The engine of one rank: a bounded queue of requests, a paged KV cache, and a step loop that mixes
// decode tokens of running sequences with chunks of prompts (continuous batching with incremental
// prefill). Free of protos and of gRPC.
//
// Bits: what a request is answered depends on its tokens, pictures, sampling parameters and seed
// alone (DESIGN §5).
#ifndef TESSERA_WORKER_ENGINE_ENGINE_H_
#define TESSERA_WORKER_ENGINE_ENGINE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/base/clock.h"
#include "services/base/ids.h"
#include "services/base/sha256.h"
#include "worker/engine/kv_transfer.h"
#include "worker/engine/sampler.h"
#include "worker/engine/step_group.h"
#include "worker/model/model.h"

namespace tessera::engine {

// A moment's load, for heartbeats and metrics.
struct EngineSnapshot {
  int64_t running_requests = 0;
  int64_t queued_requests = 0;
  int64_t outstanding_tokens =
      0;  // prompt rows still to compute plus tokens still allowed, of queued and running requests
  int64_t kv_blocks_total = 0;
  int64_t kv_blocks_used = 0;    // referenced by running sequences
  int64_t kv_blocks_cached = 0;  // unreferenced, kept for the prefix cache
  int64_t embedding_cache_bytes_used = 0;
  uint64_t steps = 0;
  uint64_t prompt_tokens = 0;  // computed, since the start
  uint64_t generated_tokens = 0;
  uint64_t prefix_cache_queried_tokens = 0;
  uint64_t prefix_cache_hit_tokens = 0;
  uint64_t embedding_cache_queries = 0;
  uint64_t embedding_cache_hits = 0;
  uint64_t preemptions = 0;
  KvLeaseCounts kv_leases;
  absl::Duration last_step_duration;
};

struct EngineOptions {
  int64_t kv_block_size_tokens = 16;
  int64_t kv_cache_bytes =
      int64_t{1}
      << 30;  // of all layers together; rounded down to whole blocks, at least one sequence's worth
  int64_t embedding_cache_bytes =
      256 << 20;  // encoded pictures kept by identity; the pictures in use do not count against it
  int64_t max_batch_sequences = 64;    // sequences per step
  int64_t max_step_tokens = 512;       // rows per step: decode tokens first, then prompt chunks
  int64_t prefill_chunk_tokens = 512;  // largest chunk of one prompt in one step
  int64_t max_queued_requests = 256;   // waiting, not running; more are RESOURCE_EXHAUSTED
  bool prefix_caching = true;
  // Set: steps are bound to those of other ranks. Outlives the engine.
  StepGroup* step_group = nullptr;
  // A preempted request of this engine is not computed again here but ends with UNAVAILABLE: ranks
  // that only decode have no pictures to compute a prompt from.
  bool hand_back_preempted = false;
  // Told, on the engine's thread, of full blocks that became findable and of those that no longer
  // are; must not block. May be empty.
  std::function<void(const Digest& hash, bool findable)> on_block;
  // A running request fails if for so long neither it nor an older one, whose turn comes first, has
  // gained a row.
  absl::Duration no_progress_timeout = absl::Seconds(60);
  // Called after each step that did something, on the engine's thread; must not block and must not
  // call the engine. May be empty.
  std::function<void(const EngineSnapshot&)> on_step;
};

// Type URL of the (empty) payload on Submit's RESOURCE_EXHAUSTED when waiting helps: the queue is
// full.
inline constexpr char kQueueFullPayload[] = "tessera.engine/queue_full";

// Type URL of the (empty) payload on the UNAVAILABLE of a request whose K and V were given up here
// and that another rank can go on with: it was preempted (EngineOptions::hand_back_preempted), or K
// and V were lost and its pictures are not here to compute them again.
inline constexpr char kHandedBackPayload[] = "tessera.engine/handed_back";

// A picture of a prompt. The engine owns the bytes.
struct PromptImage {
  std::vector<uint8_t> tiles;  // [num_tiles, 3, side, side]
  int64_t tiles_across = 1;
  int64_t tiles_down = 1;
  int64_t first_token = 0;  // index into token_ids
  int64_t num_tokens = 0;
  Digest identity{};  // keys the embedding cache and the hashes of the KV blocks that it touches
};

struct GenerationRequest {
  RequestId id;  // unique among the requests in this engine
  std::vector<int32_t>
      token_ids;  // prompt, then (after a failover) tokens that were generated before
  int64_t num_prompt_tokens = 0;    // token_ids past this count are generated ones: penalties,
                                    // positions and max_tokens count them so
  std::vector<PromptImage> images;  // sorted by first_token
  SamplingParams sampling;
  std::vector<int32_t> stop_token_ids;  // eos and the like: generation ends after one of them
                                        // (reason kStopToken), unless ignore_eos
  std::string cache_salt;               // tenants with different salts share no KV
  // Prefill side of a handoff: the request ends with its first token (reason kHandedOver, unless
  // that token ends the answer anyhow). Copies of the request share it.
  std::shared_ptr<KvExport> kv_export;
  // Rows of positions below this are there already and are not exported; in [0, token_ids.size()].
  int64_t kv_export_from = 0;
  // Decode side: id of a lease whose rows are all written; token_ids continue those of the lease by
  // at least one token, and the images need no tiles.
  std::string kv_lease;
  // Higher is served sooner, among equals the older; in [-100, 100].
  int32_t priority = 0;
  absl::Time deadline = absl::InfiniteFuture();
};

enum class FinishReason { kStopToken, kLength, kCancelled, kError, kHandedOver };

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t image_tokens = 0;
  int64_t cached_tokens = 0;      // prompt tokens whose KV came from the prefix cache
  int64_t completion_tokens = 0;  // tokens that came with the request after a failover count too
};

struct TokenEvent {
  int32_t token_id = 0;
  int64_t position = 0;    // of the token among the generated ones, from 0
  TokenLogprobs logprobs;  // empty unless asked for
};

// Receives one request's events, in order, on the engine's thread; must not block, and of the
// engine may call Cancel alone. Freed by the engine after OnFinish, which comes exactly once.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void OnToken(const TokenEvent& event) = 0;
  // status is OK unless reason is kError (DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED by name, INTERNAL)
  // or kCancelled (CANCELLED).
  virtual void OnFinish(FinishReason reason, const absl::Status& status, const Usage& usage) = 0;
};

// Thread safe, except where said.
class Engine {
 public:
  // model and clock outlive the engine. INVALID_ARGUMENT: an option out of range, or a KV budget
  // below one block a layer.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(model::VlModel& model,
                                                        const EngineOptions& options,
                                                        const Clock& clock = Clock::Real());
  virtual ~Engine() = default;  // stops; requests that are still here finish as kCancelled

  // On OK the engine owns the sink and calls it until OnFinish. On failure the sink is dropped and
  // nothing is called. INVALID_ARGUMENT: names the field (empty prompt, id outside the vocabulary,
  // picture spans that do not fit, prompt + max_tokens beyond the context, a NaN temperature …);
  // RESOURCE_EXHAUSTED: queue full, or the request can never fit the KV cache (says both numbers);
  // ALREADY_EXISTS: id in use; UNAVAILABLE: stopping or draining. With kv_lease also NOT_FOUND: no
  // such lease; FAILED_PRECONDITION: rows of it are missing; INVALID_ARGUMENT: it was taken for
  // another prompt. Only an OK takes the lease.
  virtual absl::Status Submit(GenerationRequest request, std::unique_ptr<EventSink> sink) = 0;

  // Leases blocks for a prompt that another rank computes, and calls `granted` once: on the
  // engine's thread as soon as there is room, or at once on the caller's if it is refused. With the
  // lease, or with INVALID_ARGUMENT, RESOURCE_EXHAUSTED (it can never fit, or the queue is full, as
  // Submit), DEADLINE_EXCEEDED (no room by prompt.deadline), ALREADY_EXISTS, CANCELLED (released
  // meanwhile), UNAVAILABLE (stopping, draining, or not in the group). prompt: token ids, images
  // without tiles, salt, priority, and the answer's max_tokens; lease: how long the rows may take,
  // in (0, 1 h].
  using LeaseCallback = std::function<void(absl::StatusOr<KvLease>)>;
  virtual void LeaseBlocks(std::string id, GenerationRequest prompt, absl::Duration lease,
                           LeaseCallback granted) = 0;

  // Writes rows of a leased block range; from any thread, concurrently for different rows. rows as
  // in KvExport::OnRows. NOT_FOUND: no such lease, or its deadline has passed; INVALID_ARGUMENT:
  // rows outside the lease, rows that were here before it, or of the wrong size.
  virtual absl::Status WriteRows(const std::string& lease_id, int64_t layer, int64_t first_position,
                                 absl::Span<const std::byte> rows) = 0;

  // Gives a lease back, or stops waiting for it; unknown ids are ignored.
  virtual void ReleaseLease(const std::string& lease_id) = 0;

  // A peer of the step group is about to step, or a change of members is due.
  virtual void WakeForPeers() = 0;

  // The request ends within one step with kCancelled; unknown ids are ignored.
  virtual void Cancel(const RequestId& id) = 0;

  virtual EngineSnapshot Snapshot() const = 0;

  // No new requests; returns when the running and queued ones have ended, or at the deadline (then
  // DEADLINE_EXCEEDED, and they are cancelled).
  virtual absl::Status Drain(absl::Time deadline) = 0;

  // Runs one step on the calling thread, for tests: only while no loop runs. True if there was
  // work.
  virtual bool StepForTest() = 0;

  // Starts the loop's thread; at most once.
  virtual void Start() = 0;
};

}  // namespace tessera::engine

#endif  // TESSERA_WORKER_ENGINE_ENGINE_H_
