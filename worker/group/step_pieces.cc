#include "worker/group/step_pieces.h"

#include <algorithm>

#include "services/base/check.h"

namespace tessera::group {

using model::EmbeddingSpan;
using model::StepSequence;

int64_t CountRows(absl::Span<const StepSequence> sequences) {
  int64_t rows = 0;
  for (const StepSequence& sequence : sequences)
    rows += static_cast<int64_t>(sequence.token_ids.size());
  return rows;
}

int64_t CountOutputs(absl::Span<const StepSequence> sequences) {
  return std::count_if(sequences.begin(), sequences.end(),
                       [](const StepSequence& sequence) { return sequence.wants_logits; });
}

void StepPieces::Cut(absl::Span<const StepSequence> sequences, int64_t num_pieces) {
  const int64_t rows = CountRows(sequences);
  TESSERA_CHECK(num_pieces >= std::min<int64_t>(rows, 1) && num_pieces <= rows)
      << num_pieces << " pieces of " << rows << " rows";
  parts_.clear();
  pieces_.clear();
  output_sequences_.clear();
  size_t index = 0;
  int64_t begin = 0;  // row of the sequence
  int64_t row = 0;    // of the step
  for (int64_t piece = 0; piece < num_pieces; ++piece) {
    pieces_.push_back({parts_.size(), 0, static_cast<int64_t>(output_sequences_.size()), 0});
    const int64_t piece_end = rows * (piece + 1) / num_pieces;
    while (row < piece_end) {
      const StepSequence& sequence = sequences[index];
      const auto length = static_cast<int64_t>(sequence.token_ids.size());
      const int64_t end = std::min(length, begin + piece_end - row);
      AddPart(sequence, begin, end, static_cast<int32_t>(index));
      row += end - begin;
      begin = end;
      if (begin == length) {
        ++index;
        begin = 0;
      }
    }
  }
}

void StepPieces::AddPart(const StepSequence& sequence, int64_t begin, int64_t end, int32_t index) {
  StepSequence part;
  part.token_ids =
      sequence.token_ids.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
  part.first_position = sequence.first_position + begin;
  part.block_table = sequence.block_table;
  for (const EmbeddingSpan& image : sequence.images) {
    const int64_t first = std::max(begin, image.first_row);
    const int64_t last = std::min(end, image.first_row + image.features.rows);
    if (first >= last) continue;
    const kernels::ConstMat& rows = image.features;
    part.images.push_back(
        {first - begin, {rows.row(first - image.first_row), last - first, rows.cols, rows.stride}});
  }
  Piece& piece = pieces_.back();
  part.wants_logits =
      sequence.wants_logits && end == static_cast<int64_t>(sequence.token_ids.size());
  if (part.wants_logits) {
    output_sequences_.push_back(index);
    ++piece.num_outputs;
  }
  parts_.push_back(std::move(part));
  ++piece.num_parts;
}

absl::Span<const StepSequence> StepPieces::sequences(int64_t piece) const {
  if (piece >= size()) return {};
  const Piece& found = pieces_[static_cast<size_t>(piece)];
  return absl::MakeConstSpan(parts_).subspan(found.first_part, found.num_parts);
}

int64_t StepPieces::first_output(int64_t piece) const {
  return piece < size() ? pieces_[static_cast<size_t>(piece)].first_output
                        : static_cast<int64_t>(output_sequences_.size());
}

int64_t StepPieces::num_outputs(int64_t piece) const {
  return piece < size() ? pieces_[static_cast<size_t>(piece)].num_outputs : 0;
}

}  // namespace tessera::group
