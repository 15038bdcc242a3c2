#include "worker/model/step_batch.h"

#include <algorithm>

namespace tessera::model {

void BuildStepBatch(absl::Span<const StepSequence> sequences, StepBatch* batch,
                    OutputRows* outputs) {
  *batch = {};
  *outputs = {};
  for (size_t i = 0; i < sequences.size(); ++i) {
    const StepSequence& sequence = sequences[i];
    const int64_t first_row = batch->rows();
    const auto rows = static_cast<int64_t>(sequence.token_ids.size());
    batch->sequences.push_back(
        {first_row, rows, sequence.first_position, sequence.block_table.data()});
    for (int64_t row = 0; row < rows; ++row) {
      batch->positions.push_back(static_cast<int32_t>(sequence.first_position + row));
    }
    if (!sequence.wants_logits) continue;
    const auto output_row = static_cast<int64_t>(outputs->rows.size());
    outputs->rows.push_back(static_cast<int32_t>(first_row + rows - 1));
    outputs->sequences.push_back(static_cast<int32_t>(i));
    outputs->batch.positions.push_back(batch->positions.back());
    outputs->batch.sequences.push_back(
        {output_row, 1, sequence.first_position + rows - 1, sequence.block_table.data()});
  }
}

kernels::Mat KeepRows(absl::Span<const int32_t> rows, kernels::Mat matrix) {
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] != static_cast<int32_t>(i))
      std::copy_n(matrix.row(rows[i]), matrix.cols, matrix.row(static_cast<int64_t>(i)));
  }
  return matrix.row_range(0, static_cast<int64_t>(rows.size()));
}

}  // namespace tessera::model
