// The part of StepLoop that computes a planned step and takes in its results.
#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "services/base/check.h"
#include "services/base/log.h"
#include "worker/engine/step_loop.h"

namespace tessera::engine {

bool StepLoop::Prepare() {
  Sweep(true);
  plan_ = {};
  if (empty()) return false;
  step_start_ = clock_.Now();
  plan_ = Plan();
  if (plan_.encoding) {
    const auto [index, image] = *plan_.encoding;
    if (absl::Status status = EncodeImage(*running_[index], image); !status.ok()) {
      FinishRunning(index, FinishReason::kError,
                    absl::InternalError(absl::StrCat(
                        "images[", image, "] could not be encoded: ", status.message())));
      ended_some_ = true;
      plan_ = {};
    }
  }
  return !plan_.rows.empty();
}

ForwardOutcome StepLoop::Compute() {
  int64_t num_logit_rows = 0;
  for (const auto [index, num_rows] : plan_.rows) {
    Sequence& sequence = *running_[index];
    AllocateBlocks(sequence, sequence.num_computed + num_rows);
    num_logit_rows += sequence.num_computed + num_rows == sequence.num_tokens();
  }
  const absl::Status status = RunForward(num_logit_rows);
  if (options_.step_group != nullptr && status.GetPayload(kGroupBrokenPayload)) {
    return ForwardOutcome::kGroupBroken;
  }
  if (plan_.rows.empty()) {
    if (status.ok()) return ForwardOutcome::kDone;
    TESSERA_LOG(kWarning) << "a step without rows failed: " << status.ToString();
    return ForwardOutcome::kFailed;
  }
  if (status.ok()) {
    ApplyStep();
  } else {
    FailStep(status);
  }
  ++counters_.steps;
  counters_.last_step_duration = clock_.Now() - step_start_;
  return status.ok() ? ForwardOutcome::kDone : ForwardOutcome::kFailed;
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

absl::Status StepLoop::RunForward(int64_t num_logit_rows) {
  std::vector<model::StepSequence> inputs;
  inputs.reserve(plan_.rows.size());
  for (const auto [index, num_rows] : plan_.rows) {
    Sequence& sequence = *running_[index];
    inputs.push_back(StepInput(sequence, num_rows));
    if (sequence.request.kv_export != nullptr) {
      exporter_.AddToStep(sequence, sequence.num_computed + num_rows);
    }
  }
  const bool exports = exporter_.StepExports();
  if (exports) model_.SetKvObserver(&exporter_);
  absl::Status status = model_.Forward(inputs, storage_.layers(),
                                       {logits_.data(), num_logit_rows, vocab_size_, vocab_size_});
  if (exports) model_.SetKvObserver(nullptr);
  exporter_.EndStep();
  return status;
}

void StepLoop::FailStep(const absl::Status& status) {
  const absl::Status error =
      absl::InternalError(absl::StrCat("the model failed: ", status.message()));
  // The rows of the others are computed again in the next step: nothing of this one is kept.
  if (const auto payload = status.GetPayload(model::kSequenceIndexPayload)) {
    int64_t position = -1;
    if (absl::SimpleAtoi(std::string(*payload), &position) && position >= 0 &&
        position < static_cast<int64_t>(plan_.rows.size())) {
      FinishRunning(plan_.rows[position].sequence, FinishReason::kError, error);
      return;
    }
  }
  std::vector<int64_t> indices;
  for (const PlannedRows& rows : plan_.rows) indices.push_back(rows.sequence);
  std::sort(indices.rbegin(), indices.rend());
  for (const int64_t index : indices) FinishRunning(index, FinishReason::kError, error);
}

void StepLoop::ApplyStep() {
  const absl::Time now = clock_.Now();
  int64_t logit_row = 0;
  std::vector<int64_t> complete;
  for (const auto [index, num_rows] : plan_.rows) {
    Sequence& sequence = *running_[index];
    Advance(sequence, num_rows);
    sequence.last_progress = now;
    if (sequence.num_computed < sequence.num_tokens()) continue;
    if (sequence.request.kv_export != nullptr) sequence.request.kv_export->OnComplete();
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
  // A model that did not tell of a layer while it ran has its rows there now.
  if (sequence.request.kv_export != nullptr) exporter_.ExportAll(sequence, sequence.num_computed);
  for (size_t i = 0; i < sequence.images.size(); ++i) {
    const ImageView& image = sequence.images[i];
    if (image.first_token + image.num_tokens <= sequence.num_computed) sequence.pins[i].Reset();
  }
  PublishFullBlocks(sequence);
}

void StepLoop::PublishFullBlocks(Sequence& sequence) {
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
