#include "worker/engine/step_loop.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/check.h"
#include "services/base/log.h"

namespace tessera::engine {

StepLoop::StepLoop(model::VlModel& model, const EngineOptions& options, int64_t num_blocks,
                   const Clock& clock, FinishedCallback on_finished)
    : model_(model),
      options_(options),
      clock_(clock),
      on_finished_(std::move(on_finished)),
      vocab_size_(model.config().language.vocab_size),
      hidden_size_(model.config().language.hidden_size),
      context_tokens_(model.config().language.max_position_embeddings),
      storage_(model.kv_layout(), options.kv_block_size_tokens, num_blocks),
      pool_(num_blocks, options.prefix_caching),
      leases_(storage_.layers(), kv::RowShapeOf(model.config().language, model.kv_layout()), clock),
      exporter_(storage_.layers(), kv::RowShapeOf(model.config().language, model.kv_layout())),
      embeddings_(options.embedding_cache_bytes) {
  logits_.resize(options.max_batch_sequences * vocab_size_);
  pool_.SetListener(options.on_block);
}

template <typename Sequences>
void StepLoop::Insert(Sequences& sequences, SequencePtr sequence) {
  const auto place =
      std::find_if(sequences.begin(), sequences.end(),
                   [&](const SequencePtr& other) { return sequence->Precedes(*other); });
  sequences.insert(place, std::move(sequence));
}
template void StepLoop::Insert(std::vector<SequencePtr>&, SequencePtr);
template void StepLoop::Insert(std::deque<SequencePtr>&, SequencePtr);

void StepLoop::Add(GenerationRequest request, std::unique_ptr<EventSink> sink,
                   std::optional<TakenLease> taken) {
  auto sequence = std::make_unique<Sequence>(std::move(request), std::move(sink), next_arrival_++);
  const bool fresh = by_id_.emplace(sequence->request.id, sequence.get()).second;
  TESSERA_CHECK(fresh) << "request id in use";
  if (sequence->request.kv_export != nullptr) exporter_.Register(*sequence);
  if (!taken) {
    Insert(waiting_, std::move(sequence));
    return;
  }
  const bool is_valid = taken->kv_generation == kv_generation_;
  AdoptLease(*sequence, *std::move(taken));
  if (is_valid) {
    Insert(adopted_, std::move(sequence));
  } else {
    GiveUpKv(std::move(sequence), absl::UnavailableError("K and V of the lease were lost"));
  }
}

void StepLoop::Cancel(const RequestId& id) {
  if (const auto found = by_id_.find(id); found != by_id_.end()) found->second->cancelled = true;
}

bool StepLoop::Step() {
  if (!Prepare()) return ended_some_;
  Compute();
  return true;
}

std::optional<StepLoop::End> StepLoop::EndOf(const Sequence& sequence, absl::Time now) const {
  if (sequence.cancelled) {
    return End{FinishReason::kCancelled, absl::CancelledError("the request was cancelled")};
  }
  if (now >= sequence.request.deadline) {
    return End{FinishReason::kError,
               absl::DeadlineExceededError("the request's deadline has passed")};
  }
  if (sequence.lease) return std::nullopt;
  if (const auto reason = CompletionOf(sequence, context_tokens_)) {
    return End{*reason, absl::OkStatus()};
  }
  return std::nullopt;
}

template <typename Sequences>
void StepLoop::SweepSequences(Sequences& sequences, absl::Time now) {
  // Each is moved out before its sink is called, then the gaps are closed.
  for (SequencePtr& sequence : sequences) {
    if (const auto end = EndOf(*sequence, now)) {
      Finish(std::move(sequence), end->first, end->second);
      ended_some_ = true;
    }
  }
  sequences.erase(std::remove(sequences.begin(), sequences.end(), nullptr), sequences.end());
}

void StepLoop::Sweep(bool check_progress) {
  ended_some_ = false;
  const absl::Time now = clock_.Now();
  for (TakenLease& taken : leases_.TakeExpired()) {
    TESSERA_LOG(kWarning).With("handoff_id", taken.lease.id)
        << "a KV lease has ended before its rows had arrived";
    EndLease(std::move(taken), counters_.kv_leases.reclaimed);
    ended_some_ = true;
  }
  SweepSequences(running_, now);
  SweepSequences(adopted_, now);
  SweepSequences(waiting_, now);
  if (!check_progress) return;
  std::vector<absl::Time> progress;
  for (const SequencePtr& sequence : running_) progress.push_back(sequence->last_progress);
  if (const auto stalled = FirstStalled(progress, now, options_.no_progress_timeout)) {
    FinishRunning(*stalled, FinishReason::kError,
                  absl::InternalError(absl::StrCat(
                      "no progress for ", absl::FormatDuration(options_.no_progress_timeout))));
    ended_some_ = true;
  }
}

void StepLoop::RestartProgress() {
  for (const SequencePtr& sequence : running_) sequence->last_progress = clock_.Now();
}

void StepLoop::Finish(SequencePtr sequence, FinishReason reason, const absl::Status& status) {
  ReleaseMemory(*sequence);
  if (sequence->lease) {
    sequence->lease->granted(status);
    return;
  }
  Usage usage;
  usage.prompt_tokens = sequence->request.num_prompt_tokens;
  for (const PromptImage& image : sequence->request.images) usage.image_tokens += image.num_tokens;
  usage.cached_tokens = sequence->num_cached_tokens;
  usage.completion_tokens = sequence->num_generated();
  by_id_.erase(sequence->request.id);
  on_finished_(sequence->request.id);
  sequence->sink->OnFinish(reason, status, usage);
}

void StepLoop::FinishRunning(int64_t index, FinishReason reason, const absl::Status& status) {
  SequencePtr sequence = std::move(running_[index]);
  running_.erase(running_.begin() + index);
  if (reason == FinishReason::kError) {
    TESSERA_LOG(kWarning).With("request_id", sequence->request.id) << status.ToString();
  }
  Finish(std::move(sequence), reason, status);
}

void StepLoop::FinishAll(FinishReason reason, const absl::Status& status) {
  for (SequencePtr& sequence : running_) Finish(std::move(sequence), reason, status);
  for (SequencePtr& sequence : adopted_) Finish(std::move(sequence), reason, status);
  for (SequencePtr& sequence : waiting_) Finish(std::move(sequence), reason, status);
  running_.clear();
  adopted_.clear();
  waiting_.clear();
}

void StepLoop::ForgetKv() {
  ++kv_generation_;
  LoseLeases();
  const absl::Status status = absl::UnavailableError("K and V of the request were lost");
  std::vector<SequencePtr> holders = std::move(running_);
  running_.clear();
  for (SequencePtr& sequence : adopted_) holders.push_back(std::move(sequence));
  adopted_.clear();
  for (SequencePtr& sequence : holders) GiveUpKv(std::move(sequence), status);
  pool_.ForgetPublished();
}

EngineSnapshot StepLoop::Snapshot() const {
  EngineSnapshot snapshot = counters_;
  snapshot.running_requests = static_cast<int64_t>(running_.size());
  snapshot.queued_requests = static_cast<int64_t>(waiting_.size() + adopted_.size());
  const auto add_outstanding = [&](const auto& sequences) {
    for (const SequencePtr& sequence : sequences) {
      if (sequence->lease) continue;  // computed elsewhere
      snapshot.outstanding_tokens += sequence->num_tokens() - sequence->num_computed +
                                     sequence->request.sampling.max_tokens -
                                     sequence->num_generated();
    }
  };
  add_outstanding(running_);
  add_outstanding(adopted_);
  add_outstanding(waiting_);
  const kv::PoolCounts counts = pool_.counts();
  snapshot.kv_blocks_total = counts.total;
  snapshot.kv_blocks_used = counts.used;
  snapshot.kv_blocks_cached = counts.cached;
  snapshot.embedding_cache_bytes_used = embeddings_.pinned_bytes() + embeddings_.unpinned_bytes();
  return snapshot;
}

}  // namespace tessera::engine
