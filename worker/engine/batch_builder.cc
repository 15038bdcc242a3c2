#include "worker/engine/batch_builder.h"

#include <algorithm>

#include "services/base/check.h"

namespace tessera::engine {
namespace {

// Cuts num_rows so that the chunk needs at most one picture that is not ready, and that only if
// `encoding` is still free; notes the picture there.
int64_t CutAtImages(const SequenceView& sequence, int64_t index, int64_t num_rows,
                    std::optional<PlannedEncoding>& encoding) {
  const int64_t begin = sequence.num_computed;
  for (size_t i = 0; i < sequence.images.size(); ++i) {
    const ImageView& image = sequence.images[i];
    if (image.first_token >= begin + num_rows) break;
    if (image.ready || image.first_token + image.num_tokens <= begin) continue;
    if (encoding.has_value()) return std::max<int64_t>(0, image.first_token - begin);
    encoding = PlannedEncoding{index, static_cast<int64_t>(i)};
  }
  return num_rows;
}

}  // namespace

int64_t BlocksFor(int64_t num_tokens, int64_t block_size_tokens) {
  return (num_tokens + block_size_tokens - 1) / block_size_tokens;
}

StepPlan PlanStep(absl::Span<const SequenceView> sequences, int64_t available_blocks,
                  const StepLimits& limits) {
  StepPlan plan;
  plan.rows_left = limits.max_step_tokens;
  plan.blocks_left = available_blocks;
  const auto last = static_cast<int64_t>(sequences.size()) - 1;
  for (const bool prompts : {false, true}) {
    for (int64_t i = 0; i <= last && plan.rows_left > 0; ++i) {
      const SequenceView& sequence = sequences[i];
      const int64_t missing = sequence.num_tokens - sequence.num_computed;
      TESSERA_CHECK(missing > 0) << "sequence " << i << " has nothing to compute";
      if ((missing > 1) != prompts) continue;
      const int64_t room = (sequence.num_blocks + plan.blocks_left) * limits.block_size_tokens -
                           sequence.num_computed;
      if (room <= 0) {
        StepPlan preemption;
        preemption.preempt_last = true;
        return preemption;
      }
      int64_t num_rows = std::min({missing, plan.rows_left, limits.prefill_chunk_tokens, room});
      num_rows = CutAtImages(sequence, i, num_rows, plan.encoding);
      if (num_rows == 0) continue;
      const int64_t blocks = BlocksFor(sequence.num_computed + num_rows, limits.block_size_tokens);
      plan.blocks_left -= std::max<int64_t>(0, blocks - sequence.num_blocks);
      plan.rows_left -= num_rows;
      plan.rows.push_back({i, num_rows});
    }
  }
  return plan;
}

}  // namespace tessera::engine
