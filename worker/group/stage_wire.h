// What stages of one column send each other, as bytes. A micro-batch is a header of fixed size, a
// body that says which rows they are, and the rows themselves; results are a header and rows. In
// the byte order of the machine: the ranks of a group run the same binary on the same kind of host.
#ifndef TESSERA_WORKER_GROUP_STAGE_WIRE_H_
#define TESSERA_WORKER_GROUP_STAGE_WIRE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "worker/model/step_batch.h"

namespace tessera::group {

// Tells the two ends of a stage boundary apart from all others, and counts what went over it.
struct StageMessage {
  uint64_t epoch = 0;
  uint64_t number = 0;  // of the micro-batch, in its epoch
};

// What a rank knows of a step before it comes.
struct StageBounds {
  int64_t num_blocks = 0;
  int64_t block_size_tokens = 0;
  int64_t max_rows = 0;
  int64_t max_positions = 0;
};

inline constexpr int64_t kPieceHeaderBytes = 64;
inline constexpr int64_t kResultHeaderBytes = 64;

struct StagePiece {
  model::StepBatch batch;  // block tables point into `blocks`
  model::OutputRows outputs;
  std::vector<int32_t> blocks;
};

// outputs: rows that are the last of their sequences. bytes: header and body.
void EncodePiece(const model::StepBatch& batch, const model::OutputRows& outputs,
                 const StageMessage& message, const StageBounds& bounds,
                 std::vector<std::byte>* bytes);

// The size of the body that follows. INTERNAL, here and below: not what is expected, or beyond the
// bounds; names the field, its value and the bound.
absl::StatusOr<int64_t> PieceBodyBytes(absl::Span<const std::byte> header,
                                       const StageMessage& expected, const StageBounds& bounds);
// bytes: header and body, the header checked.
absl::Status DecodePiece(absl::Span<const std::byte> bytes, const StageBounds& bounds,
                         StagePiece* piece);

// header: [kResultHeaderBytes]
void EncodeResultHeader(const StageMessage& message, int64_t rows, absl::Span<std::byte> header);
absl::Status CheckResultHeader(absl::Span<const std::byte> header, const StageMessage& expected,
                               int64_t rows);

}  // namespace tessera::group

#endif  // TESSERA_WORKER_GROUP_STAGE_WIRE_H_
