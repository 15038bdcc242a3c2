// Decides the rows of the next step. Pure: sequences and counts in, a plan out.
//
// Sequences come in the order of their turns: by priority, among equals by age. One row for each
// sequence that only awaits its next token, then chunks of prompts, both in that order. A sequence
// never waits for a block that one after it holds: the plan then says to preempt the last, and is
// made anew. So the first always gains rows, and every sequence becomes the first some day, as far
// as there are no new ones of a higher priority without end.
#ifndef TESSERA_WORKER_ENGINE_BATCH_BUILDER_H_
#define TESSERA_WORKER_ENGINE_BATCH_BUILDER_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/types/span.h"

namespace tessera::engine {

struct ImageView {
  int64_t first_token = 0;  // position in the sequence
  int64_t num_tokens = 0;
  bool ready = false;  // its features are here and pinned
};

struct SequenceView {
  int64_t num_tokens = 0;    // known so far
  int64_t num_computed = 0;  // of them, with KV in blocks; < num_tokens
  int64_t num_blocks = 0;    // held
  absl::Span<const ImageView> images;
};

struct StepLimits {
  int64_t block_size_tokens = 16;
  int64_t max_step_tokens = 512;
  int64_t prefill_chunk_tokens = 512;
};

struct PlannedRows {
  int64_t sequence = 0;  // index into the sequences
  int64_t num_rows = 0;  // >= 1
};

struct PlannedEncoding {
  int64_t sequence = 0;
  int64_t image = 0;  // index into the sequence's images
};

struct StepPlan {
  bool preempt_last = false;  // if so, nothing else is set
  std::vector<PlannedRows> rows;
  // The one picture to encode before the step; its sequence's rows count on it.
  std::optional<PlannedEncoding> encoding;
  int64_t rows_left = 0;    // of max_step_tokens
  int64_t blocks_left = 0;  // of available_blocks
};

// sequences: running ones, in the order of their turns. available_blocks: free and cached ones.
StepPlan PlanStep(absl::Span<const SequenceView> sequences, int64_t available_blocks,
                  const StepLimits& limits);

// Blocks that hold num_tokens tokens.
int64_t BlocksFor(int64_t num_tokens, int64_t block_size_tokens);

}  // namespace tessera::engine

#endif  // TESSERA_WORKER_ENGINE_BATCH_BUILDER_H_
