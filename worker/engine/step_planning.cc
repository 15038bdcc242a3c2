// The part of StepLoop that shares out blocks and pictures before a step.
#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/cord.h"
#include "services/base/check.h"
#include "worker/engine/step_loop.h"

namespace tessera::engine {

StepPlan StepLoop::Plan() {
  const StepLimits limits{options_.kv_block_size_tokens, options_.max_step_tokens,
                          options_.prefill_chunk_tokens};
  bool preempted = false;
  for (;;) {
    std::vector<SequenceView> views;
    views.reserve(running_.size());
    for (const SequencePtr& sequence : running_) {
      PinCachedImages(*sequence);
      views.push_back({sequence->num_tokens(), sequence->num_computed, sequence->num_blocks(),
                       sequence->images});
    }
    StepPlan plan = PlanStep(views, AvailableBlocks(), limits);
    if (plan.preempt_last) {
      PreemptLast();
      preempted = true;
      continue;
    }
    // Right after a preemption nobody is admitted: what came free is for those before it.
    if (preempted) return plan;
    if (!TryGrantLease() && (plan.rows_left == 0 || !TryAdmit())) return plan;
  }
}

bool StepLoop::TryAdmit() {
  if (static_cast<int64_t>(running_.size()) >= options_.max_batch_sequences) return false;
  if (!adopted_.empty()) {
    // It has its memory; what it needs beyond that, it gains like all that run.
    SequencePtr sequence = std::move(adopted_.front());
    adopted_.pop_front();
    sequence->last_progress = clock_.Now();
    Insert(running_, std::move(sequence));
    return true;
  }
  if (waiting_.empty() || waiting_.front()->lease) return false;
  Sequence& sequence = *waiting_.front();
  ReferenceCachedPrefix(sequence, sequence.num_tokens() - 1);
  // Room for all that it knows now, beside what the running ones still need for the same: else it
  // would soon be preempted. And however it grows, it does not depend on the end of a lease. Once
  // all that is here has ended it fits (CheckRequest).
  const int64_t tokens = std::min(sequence.num_tokens() + 1, sequence.most_kv_tokens());
  const int64_t needed = BlocksFor(tokens, options_.kv_block_size_tokens) - sequence.num_blocks();
  const int64_t most = BlocksFor(sequence.most_kv_tokens(), options_.kv_block_size_tokens);
  if (needed > AvailableBlocks() - ReservedBlocks() ||
      most > pool_.counts().total - leases_.totals().blocks) {
    ReleaseMemory(sequence);
    return false;
  }
  NoteAdmission(sequence);
  SequencePtr admitted = std::move(waiting_.front());
  waiting_.pop_front();
  Insert(running_, std::move(admitted));
  return true;
}

void StepLoop::NoteAdmission(Sequence& sequence) {
  if (!sequence.admitted_before) {
    sequence.admitted_before = true;
    sequence.num_cached_tokens =
        std::min(sequence.num_computed, sequence.request.num_prompt_tokens);
    if (options_.prefix_caching) {
      counters_.prefix_cache_queried_tokens += sequence.num_tokens();
      counters_.prefix_cache_hit_tokens += sequence.num_computed;
    }
  }
  sequence.last_progress = clock_.Now();
  if (sequence.request.kv_export != nullptr) exporter_.ExportAll(sequence, sequence.num_computed);
}

void StepLoop::PreemptLast() {
  // Adopted ones wait for a place in the batch: nothing is lost sooner by taking theirs.
  SequencePtr sequence;
  if (!adopted_.empty()) {
    sequence = std::move(adopted_.back());
    adopted_.pop_back();
  } else {
    sequence = std::move(running_.back());
    running_.pop_back();
  }
  ++counters_.preemptions;
  GiveUpKv(std::move(sequence), absl::UnavailableError("preempted: out of KV blocks"));
}

// Has a sequence that is in no queue compute its K and V again, or hands it back with that status.
void StepLoop::GiveUpKv(SequencePtr sequence, const absl::Status& status) {
  if (!options_.hand_back_preempted && sequence->HasTiles()) {
    ReleaseMemory(*sequence);
    Insert(waiting_, std::move(sequence));
    return;
  }
  absl::Status end = status;
  end.SetPayload(kHandedBackPayload, absl::Cord());
  Finish(std::move(sequence), FinishReason::kError, end);
}

// num_tokens: how many tokens may come from the cache. Of those to be answered here the last is
// always computed: its logits are wanted.
void StepLoop::ReferenceCachedPrefix(Sequence& sequence, int64_t num_tokens) {
  TESSERA_CHECK(sequence.blocks.empty());
  if (!options_.prefix_caching) return;
  const int64_t most = num_tokens / options_.kv_block_size_tokens;
  while (sequence.num_blocks() < most) {
    const Digest& hash = BlockHash(sequence, sequence.num_blocks(), options_.kv_block_size_tokens);
    const std::optional<int32_t> block = pool_.FindAndReference(hash);
    if (!block) break;
    sequence.blocks.push_back(*block);
  }
  sequence.num_published = sequence.num_blocks();
  sequence.num_computed = sequence.num_blocks() * options_.kv_block_size_tokens;
}

void StepLoop::ReleaseMemory(Sequence& sequence) {
  // The last block first, so that of one prefix the end is evicted before the beginning.
  for (auto block = sequence.blocks.rbegin(); block != sequence.blocks.rend(); ++block) {
    pool_.Release(*block);
  }
  sequence.blocks.clear();
  sequence.num_computed = 0;
  sequence.num_published = 0;
  for (size_t i = 0; i < sequence.pins.size(); ++i) {
    sequence.pins[i].Reset();
    sequence.images[i].ready = false;
  }
}

int64_t StepLoop::AvailableBlocks() const {
  const kv::PoolCounts counts = pool_.counts();
  return counts.free + counts.cached;
}

int64_t StepLoop::ReservedBlocks() const {
  int64_t reserved = 0;
  const auto reserve = [&](const SequencePtr& sequence) {
    const int64_t tokens = std::min(sequence->num_tokens() + 1, sequence->most_kv_tokens());
    reserved += std::max<int64_t>(
        0, BlocksFor(tokens, options_.kv_block_size_tokens) - sequence->num_blocks());
  };
  std::for_each(running_.begin(), running_.end(), reserve);
  std::for_each(adopted_.begin(), adopted_.end(), reserve);
  return reserved;
}

void StepLoop::PinCachedImages(Sequence& sequence) {
  const int64_t begin = sequence.num_computed;
  const int64_t end =
      begin + std::min(options_.prefill_chunk_tokens, sequence.num_tokens() - begin);
  for (size_t i = 0; i < sequence.images.size(); ++i) {
    ImageView& view = sequence.images[i];
    if (view.ready || view.first_token >= end || view.first_token + view.num_tokens <= begin) {
      continue;
    }
    const PromptImage& image = sequence.request.images[i];
    auto pin = embeddings_.Find({image.identity, image.tiles_across, image.tiles_down});
    if (!pin) continue;
    sequence.pins[i] = *std::move(pin);
    view.ready = true;
    ++counters_.embedding_cache_queries;
    ++counters_.embedding_cache_hits;
  }
}

absl::Status StepLoop::EncodeImage(Sequence& sequence, int64_t index) {
  const PromptImage& image = sequence.request.images[index];
  Embedding embedding;
  embedding.rows = image.num_tokens;
  embedding.cols = hidden_size_;
  embedding.values.resize(embedding.rows * embedding.cols);
  const model::ImageTiles tiles{image.tiles, 1 + image.tiles_across * image.tiles_down,
                                image.tiles_across, image.tiles_down};
  const absl::Status status = model_.EncodeImage(
      tiles, {embedding.values.data(), embedding.rows, embedding.cols, embedding.cols});
  ++counters_.embedding_cache_queries;
  if (!status.ok()) return status;
  sequence.pins[index] = embeddings_.Insert({image.identity, image.tiles_across, image.tiles_down},
                                            std::move(embedding));
  sequence.images[index].ready = true;
  return absl::OkStatus();
}

}  // namespace tessera::engine
