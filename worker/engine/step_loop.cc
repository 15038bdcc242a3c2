#include "worker/engine/step_loop.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
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
      embeddings_(options.embedding_cache_bytes) {
  logits_.resize(options.max_batch_sequences * vocab_size_);
}

void StepLoop::Add(GenerationRequest request, std::unique_ptr<EventSink> sink) {
  waiting_.push_back(
      std::make_unique<Sequence>(std::move(request), std::move(sink), next_arrival_++));
  const bool fresh = by_id_.emplace(waiting_.back()->request.id, waiting_.back().get()).second;
  TESSERA_CHECK(fresh) << "request id in use";
}

void StepLoop::Cancel(const RequestId& id) {
  if (const auto found = by_id_.find(id); found != by_id_.end()) found->second->cancelled = true;
}

bool StepLoop::Step() {
  const bool finished_some = FinishDue();
  if (empty()) return finished_some;
  const absl::Time start = clock_.Now();
  const StepPlan plan = Plan();
  if (plan.rows.empty()) return finished_some;
  if (plan.encoding) {
    const auto [index, image] = *plan.encoding;
    if (absl::Status status = EncodeImage(*running_[index], image); !status.ok()) {
      FinishRunning(index, FinishReason::kError,
                    absl::InternalError(absl::StrCat(
                        "images[", image, "] could not be encoded: ", status.message())));
      return true;
    }
  }
  int64_t num_logit_rows = 0;
  for (const auto [index, num_rows] : plan.rows) {
    Sequence& sequence = *running_[index];
    AllocateBlocks(sequence, sequence.num_computed + num_rows);
    num_logit_rows += sequence.num_computed + num_rows == sequence.num_tokens();
  }
  if (absl::Status status = RunForward(plan, num_logit_rows); !status.ok()) {
    FailStep(plan, status);
  } else {
    ApplyStep(plan);
  }
  ++counters_.steps;
  counters_.last_step_duration = clock_.Now() - start;
  return true;
}

bool StepLoop::FinishDue() {
  const absl::Time now = clock_.Now();
  const auto due =
      [&](const Sequence& sequence) -> std::optional<std::pair<FinishReason, absl::Status>> {
    if (sequence.cancelled) {
      return std::pair{FinishReason::kCancelled, absl::CancelledError("the request was cancelled")};
    }
    if (now >= sequence.request.deadline) {
      return std::pair{FinishReason::kError,
                       absl::DeadlineExceededError("the request's deadline has passed")};
    }
    if (const auto reason = CompletionOf(sequence, context_tokens_)) {
      return std::pair{*reason, absl::OkStatus()};
    }
    return std::nullopt;
  };
  bool any = false;
  const auto sweep = [&](auto& sequences) {
    // Each is moved out before its sink is called, then the gaps are closed.
    for (SequencePtr& sequence : sequences) {
      if (const auto end = due(*sequence)) {
        Finish(std::move(sequence), end->first, end->second);
        any = true;
      }
    }
    sequences.erase(std::remove(sequences.begin(), sequences.end(), nullptr), sequences.end());
  };
  sweep(running_);
  sweep(waiting_);
  std::vector<absl::Time> progress;
  for (const SequencePtr& sequence : running_) progress.push_back(sequence->last_progress);
  if (const auto stalled = FirstStalled(progress, now, options_.no_progress_timeout)) {
    FinishRunning(*stalled, FinishReason::kError,
                  absl::InternalError(absl::StrCat(
                      "no progress for ", absl::FormatDuration(options_.no_progress_timeout))));
    any = true;
  }
  return any;
}

void StepLoop::Finish(SequencePtr sequence, FinishReason reason, const absl::Status& status) {
  ReleaseMemory(*sequence);
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
  for (SequencePtr& sequence : waiting_) Finish(std::move(sequence), reason, status);
  running_.clear();
  waiting_.clear();
}

EngineSnapshot StepLoop::Snapshot() const {
  EngineSnapshot snapshot = counters_;
  snapshot.running_requests = static_cast<int64_t>(running_.size());
  snapshot.queued_requests = static_cast<int64_t>(waiting_.size());
  const auto outstanding = [](const Sequence& sequence) {
    return sequence.num_tokens() - sequence.num_computed + sequence.request.sampling.max_tokens -
           sequence.num_generated();
  };
  for (const SequencePtr& sequence : running_) {
    snapshot.outstanding_tokens += outstanding(*sequence);
  }
  for (const SequencePtr& sequence : waiting_) {
    snapshot.outstanding_tokens += outstanding(*sequence);
  }
  const kv::PoolCounts counts = pool_.counts();
  snapshot.kv_blocks_total = counts.total;
  snapshot.kv_blocks_used = counts.used;
  snapshot.kv_blocks_cached = counts.cached;
  snapshot.embedding_cache_bytes_used = embeddings_.pinned_bytes() + embeddings_.unpinned_bytes();
  return snapshot;
}

void StepLoop::AllocateBlocks(Sequence& sequence, int64_t num_tokens) {
  const int64_t wanted = BlocksFor(num_tokens, options_.kv_block_size_tokens);
  while (sequence.num_blocks() < wanted) {
    absl::StatusOr<int32_t> block = pool_.Allocate();
    TESSERA_CHECK(block.ok()) << "the plan counted on a block that is not there";
    sequence.blocks.push_back(*block);
  }
}

model::StepSequence StepLoop::StepInput(const Sequence& sequence, int64_t num_rows) const {
  const int64_t begin = sequence.num_computed;
  const int64_t end = begin + num_rows;
  model::StepSequence input;
  input.token_ids = absl::MakeConstSpan(sequence.request.token_ids).subspan(begin, num_rows);
  input.first_position = begin;
  input.block_table = absl::MakeConstSpan(sequence.blocks)
                          .subspan(0, BlocksFor(end, options_.kv_block_size_tokens));
  input.wants_logits = end == sequence.num_tokens();
  for (size_t i = 0; i < sequence.images.size(); ++i) {
    const ImageView& image = sequence.images[i];
    const int64_t first = std::max(begin, image.first_token);
    const int64_t last = std::min(end, image.first_token + image.num_tokens);
    if (first >= last) continue;
    input.images.push_back(
        {first - begin, sequence.pins[i]->Rows(first - image.first_token, last - first)});
  }
  return input;
}

absl::Status StepLoop::RunForward(const StepPlan& plan, int64_t num_logit_rows) {
  std::vector<model::StepSequence> inputs;
  inputs.reserve(plan.rows.size());
  for (const auto [index, num_rows] : plan.rows) {
    inputs.push_back(StepInput(*running_[index], num_rows));
  }
  return model_.Forward(inputs, storage_.layers(),
                        {logits_.data(), num_logit_rows, vocab_size_, vocab_size_});
}

void StepLoop::FailStep(const StepPlan& plan, const absl::Status& status) {
  const absl::Status error =
      absl::InternalError(absl::StrCat("the model failed: ", status.message()));
  // The rows of the others are computed again in the next step: nothing of this one is kept.
  if (const auto payload = status.GetPayload(model::kSequenceIndexPayload)) {
    int64_t position = -1;
    if (absl::SimpleAtoi(std::string(*payload), &position) && position >= 0 &&
        position < static_cast<int64_t>(plan.rows.size())) {
      FinishRunning(plan.rows[position].sequence, FinishReason::kError, error);
      return;
    }
  }
  std::vector<int64_t> indices;
  for (const PlannedRows& rows : plan.rows) indices.push_back(rows.sequence);
  std::sort(indices.rbegin(), indices.rend());
  for (const int64_t index : indices) FinishRunning(index, FinishReason::kError, error);
}

void StepLoop::ApplyStep(const StepPlan& plan) {
  const absl::Time now = clock_.Now();
  int64_t logit_row = 0;
  std::vector<int64_t> complete;
  for (const auto [index, num_rows] : plan.rows) {
    Sequence& sequence = *running_[index];
    Advance(sequence, num_rows);
    sequence.last_progress = now;
    if (sequence.num_computed < sequence.num_tokens()) continue;
    Sample(sequence, absl::MakeConstSpan(logits_).subspan(logit_row++ * vocab_size_, vocab_size_));
    if (CompletionOf(sequence, context_tokens_)) complete.push_back(index);
  }
  std::sort(complete.rbegin(), complete.rend());
  for (const int64_t index : complete) {
    FinishRunning(index, *CompletionOf(*running_[index], context_tokens_), absl::OkStatus());
  }
}

void StepLoop::Advance(Sequence& sequence, int64_t num_rows) {
  counters_.prompt_tokens +=
      std::clamp<int64_t>(sequence.request.num_prompt_tokens - sequence.num_computed, 0, num_rows);
  sequence.num_computed += num_rows;
  for (size_t i = 0; i < sequence.images.size(); ++i) {
    const ImageView& image = sequence.images[i];
    if (image.first_token + image.num_tokens <= sequence.num_computed) sequence.pins[i].Reset();
  }
  if (!options_.prefix_caching) return;
  const int64_t full = sequence.num_computed / options_.kv_block_size_tokens;
  for (; sequence.num_published < full; ++sequence.num_published) {
    const int64_t block = sequence.num_published;
    pool_.Publish(sequence.blocks[block],
                  BlockHash(sequence, block, options_.kv_block_size_tokens));
  }
}

void StepLoop::Sample(Sequence& sequence, absl::Span<const float> logits) {
  GenerationRequest& request = sequence.request;
  const int64_t position = sequence.num_generated();
  absl::Span<const int32_t> forbidden;
  if (position < request.sampling.min_tokens && !request.sampling.ignore_eos) {
    forbidden = request.stop_token_ids;
  }
  SampledToken token = SampleToken(logits, request.token_ids, request.num_prompt_tokens, forbidden,
                                   request.sampling, sampler_scratch_);
  request.token_ids.push_back(token.id);
  ++counters_.generated_tokens;
  sequence.sink->OnToken({token.id, position, std::move(token.logprobs)});
}

}  // namespace tessera::engine
