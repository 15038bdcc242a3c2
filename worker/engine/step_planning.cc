// The part of StepLoop that shares out blocks and pictures before a step.
#include <algorithm>
#include <optional>
#include <utility>

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
    if (plan.preempt_youngest) {
      PreemptYoungest();
      preempted = true;
      continue;
    }
    // Right after a preemption nobody is admitted: what came free is for the older ones.
    if (preempted || plan.rows_left == 0 || !TryAdmit()) return plan;
  }
}

bool StepLoop::TryAdmit() {
  if (waiting_.empty() || static_cast<int64_t>(running_.size()) >= options_.max_batch_sequences) {
    return false;
  }
  Sequence& sequence = *waiting_.front();
  ReferenceCachedPrefix(sequence);
  // Room for all that it knows now, beside what the running ones still need for the same: else it
  // would soon be preempted. Alone it always fits (CheckRequest).
  const int64_t tokens = std::min(sequence.num_tokens() + 1, sequence.most_kv_tokens());
  const int64_t needed = BlocksFor(tokens, options_.kv_block_size_tokens) - sequence.num_blocks();
  if (!running_.empty() && needed > AvailableBlocks() - ReservedBlocks()) {
    ReleaseMemory(sequence);
    return false;
  }
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
  const auto place = std::find_if(running_.begin(), running_.end(), [&](const SequencePtr& other) {
    return other->arrival > sequence.arrival;
  });
  running_.insert(place, std::move(waiting_.front()));
  waiting_.pop_front();
  return true;
}

void StepLoop::PreemptYoungest() {
  SequencePtr sequence = std::move(running_.back());
  running_.pop_back();
  ReleaseMemory(*sequence);
  ++counters_.preemptions;
  const auto place = std::find_if(waiting_.begin(), waiting_.end(), [&](const SequencePtr& other) {
    return other->arrival > sequence->arrival;
  });
  waiting_.insert(place, std::move(sequence));
}

void StepLoop::ReferenceCachedPrefix(Sequence& sequence) {
  TESSERA_CHECK(sequence.blocks.empty());
  if (!options_.prefix_caching) return;
  // The last token is always computed: its logits are wanted.
  const int64_t most = (sequence.num_tokens() - 1) / options_.kv_block_size_tokens;
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
  for (const SequencePtr& sequence : running_) {
    const int64_t tokens = std::min(sequence->num_tokens() + 1, sequence->most_kv_tokens());
    reserved += std::max<int64_t>(
        0, BlocksFor(tokens, options_.kv_block_size_tokens) - sequence->num_blocks());
  }
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
