// A step cut into micro-batches.
#ifndef TESSERA_WORKER_GROUP_STEP_PIECES_H_
#define TESSERA_WORKER_GROUP_STEP_PIECES_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "worker/model/model.h"

namespace tessera::group {

// Pieces follow each other in the rows of the step; a sequence may go on in the next piece, since
// its K and V of the earlier one are in the pages by then. Views into the sequences that it was
// given.
class StepPieces {
 public:
  // num_pieces: as even as can be by rows; 1..rows, or 0 where there is no row.
  void Cut(absl::Span<const model::StepSequence> sequences, int64_t num_pieces);

  int64_t size() const { return static_cast<int64_t>(pieces_.size()); }
  // Beyond size(): empty.
  absl::Span<const model::StepSequence> sequences(int64_t piece) const;

  // Which rows of the step's logits a piece gives.
  int64_t first_output(int64_t piece) const;
  int64_t num_outputs(int64_t piece) const;
  // [outputs of the step]: index of each one's sequence in the step.
  absl::Span<const int32_t> output_sequences() const { return output_sequences_; }

 private:
  struct Piece {
    size_t first_part = 0;
    size_t num_parts = 0;
    int64_t first_output = 0;
    int64_t num_outputs = 0;
  };

  // Rows [begin, end) of a sequence, for the last piece.
  void AddPart(const model::StepSequence& sequence, int64_t begin, int64_t end, int32_t index);

  std::vector<model::StepSequence> parts_;
  std::vector<Piece> pieces_;
  std::vector<int32_t> output_sequences_;
};

int64_t CountRows(absl::Span<const model::StepSequence> sequences);
int64_t CountOutputs(absl::Span<const model::StepSequence> sequences);

}  // namespace tessera::group

#endif  // TESSERA_WORKER_GROUP_STEP_PIECES_H_
