// The part of StepLoop that leases blocks to prompts of other ranks and takes them in.
#include <algorithm>
#include <utility>

#include "services/base/check.h"
#include "worker/engine/step_loop.h"

namespace tessera::engine {

void StepLoop::AddLeaseRequest(GenerationRequest prompt, LeaseRequest lease) {
  const bool waits = std::any_of(waiting_.begin(), waiting_.end(), [&](const SequencePtr& other) {
    return other->lease && other->lease->id == lease.id;
  });
  if (waits || leases_.Contains(lease.id)) {
    lease.granted(absl::AlreadyExistsError("the id of the KV lease is in use on this worker"));
    return;
  }
  auto sequence = std::make_unique<Sequence>(std::move(prompt), nullptr, next_arrival_++);
  sequence->lease = std::move(lease);
  Insert(waiting_, std::move(sequence));
}

void StepLoop::RefuseLeases(const absl::Status& status) {
  for (SequencePtr& sequence : waiting_) {
    if (sequence->lease) Finish(std::move(sequence), FinishReason::kError, status);
  }
  waiting_.erase(std::remove(waiting_.begin(), waiting_.end(), nullptr), waiting_.end());
}

void StepLoop::ReleaseLease(const std::string& id) {
  if (std::optional<TakenLease> taken = leases_.Take(id)) {
    EndLease(*std::move(taken), counters_.kv_leases.released);
    return;
  }
  const auto found = std::find_if(waiting_.begin(), waiting_.end(), [&](const SequencePtr& other) {
    return other->lease && other->lease->id == id;
  });
  if (found == waiting_.end()) return;
  SequencePtr sequence = std::move(*found);
  waiting_.erase(found);
  Finish(std::move(sequence), FinishReason::kCancelled,
         absl::CancelledError("the KV lease was given back before it was granted"));
}

void StepLoop::LoseLeases() {
  for (TakenLease& taken : leases_.TakeAll()) {
    EndLease(std::move(taken), counters_.kv_leases.lost);
  }
}

void StepLoop::EndLease(TakenLease taken, uint64_t& count) {
  ReleaseMemory(*taken.holder);
  ++count;
}

// Whether blocks leased for a while leave every other holder of blocks enough to come to its end by
// preempting those after it; so nobody waits for the end of a lease with blocks in its hands.
// growth: blocks that the answer of the new lease may need beyond it.
bool StepLoop::LeaseFits(int64_t num_blocks, int64_t growth) const {
  const KvLeases::Totals totals = leases_.totals();
  int64_t most_beside = std::max(growth, totals.most_growth);
  const auto count = [&](const SequencePtr& sequence) {
    most_beside =
        std::max(most_beside, BlocksFor(sequence->most_kv_tokens(), options_.kv_block_size_tokens));
  };
  std::for_each(running_.begin(), running_.end(), count);
  std::for_each(adopted_.begin(), adopted_.end(), count);
  return totals.blocks + num_blocks + most_beside <= pool_.counts().total;
}

bool StepLoop::TryGrantLease() {
  if (waiting_.empty() || !waiting_.front()->lease) return false;
  Sequence& sequence = *waiting_.front();
  ReferenceCachedPrefix(sequence, sequence.num_tokens());
  const int64_t blocks = BlocksFor(sequence.num_tokens(), options_.kv_block_size_tokens);
  const int64_t growth = std::max<int64_t>(
      0, BlocksFor(sequence.most_kv_tokens(), options_.kv_block_size_tokens) - blocks);
  if (blocks - sequence.num_blocks() > AvailableBlocks() - ReservedBlocks() ||
      !LeaseFits(blocks, growth)) {
    ReleaseMemory(sequence);
    return false;
  }
  SequencePtr holder = std::move(waiting_.front());
  waiting_.pop_front();
  if (options_.prefix_caching) {
    counters_.prefix_cache_queried_tokens += holder->num_tokens();
    counters_.prefix_cache_hit_tokens += holder->num_computed;
  }
  KvLease lease;
  lease.id = holder->lease->id;
  lease.num_tokens = holder->num_tokens();
  lease.num_cached_tokens = holder->num_computed;
  AllocateBlocks(*holder, lease.num_tokens);
  lease.blocks = holder->blocks;
  lease.deadline = clock_.Now() + holder->lease->duration;
  ++counters_.kv_leases.granted;
  const Engine::LeaseCallback granted = std::move(holder->lease->granted);
  leases_.Open(lease, std::move(holder), kv_generation_);
  granted(std::move(lease));
  return true;
}

void StepLoop::AdoptLease(Sequence& sequence, TakenLease taken) {
  Sequence& holder = *taken.holder;
  sequence.blocks = std::move(holder.blocks);
  sequence.block_hashes = std::move(holder.block_hashes);
  sequence.num_published = holder.num_published;
  sequence.num_computed = taken.lease.num_tokens;
  sequence.num_cached_tokens = std::min(taken.lease.num_cached_tokens,  // usage counts the prompt
                                        sequence.request.num_prompt_tokens);
  sequence.admitted_before = true;
  sequence.last_progress = clock_.Now();
  ++counters_.kv_leases.adopted;
  if (taken.kv_generation == kv_generation_) PublishFullBlocks(sequence);
}

}  // namespace tessera::engine
