#include "worker/group/stage_wire.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/base/check.h"
#include "services/base/status_macros.h"

namespace tessera::group {
namespace {

constexpr uint64_t kPieceMagic = 0x3165636569507354;   // "TsPiece1"
constexpr uint64_t kResultMagic = 0x31746c7573527354;  // "TsRsult1"

struct PieceHeader {
  uint64_t magic = kPieceMagic;
  uint64_t epoch = 0;
  uint64_t number = 0;
  int64_t num_blocks = 0;  // of the sender's pages
  int64_t block_size_tokens = 0;
  int64_t rows = 0;
  int64_t sequences = 0;
  int64_t block_ids = 0;
};
static_assert(sizeof(PieceHeader) == kPieceHeaderBytes);

struct ResultHeader {
  uint64_t magic = kResultMagic;
  uint64_t epoch = 0;
  uint64_t number = 0;
  int64_t rows = 0;
  uint64_t unused[4] = {};  // rows of floats that follow lie as well aligned as the header
};
static_assert(sizeof(ResultHeader) == kResultHeaderBytes);

struct WireSequence {
  int32_t num_rows = 0;
  int32_t first_position = 0;
  int32_t wants_output = 0;
};

template <typename T>
absl::Status ExpectEqual(absl::string_view field, T found, T expected) {
  if (found == expected) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("stage message: ", field, " is ", found, "; must be ", expected));
}

absl::Status ExpectRange(absl::string_view field, int64_t found, int64_t low, int64_t high) {
  if (found >= low && found <= high) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("stage message: ", field, " is ", found, "; must be in ", low, "..", high));
}

int64_t BlocksFor(int64_t positions, int64_t block_size) {
  return (positions + block_size - 1) / block_size;
}

int64_t BodyBytes(const PieceHeader& header) {
  return header.sequences * static_cast<int64_t>(sizeof(WireSequence)) +
         header.block_ids * static_cast<int64_t>(sizeof(int32_t));
}

PieceHeader ReadHeader(absl::Span<const std::byte> bytes) {
  TESSERA_CHECK(static_cast<int64_t>(bytes.size()) >= kPieceHeaderBytes) << bytes.size();
  PieceHeader header;
  std::memcpy(&header, bytes.data(), sizeof header);
  return header;
}

template <typename T>
void Append(const T& value, std::byte** place) {
  std::memcpy(*place, &value, sizeof value);
  *place += sizeof value;
}

// One sequence into the batch, and its last row into the outputs. Block tables follow later: their
// memory may move until all are read.
void AddSequence(const WireSequence& wire, StagePiece* piece) {
  model::StepBatch& batch = piece->batch;
  const int64_t first_row = batch.rows();
  const auto index = static_cast<int32_t>(batch.sequences.size());
  batch.sequences.push_back({first_row, wire.num_rows, wire.first_position, nullptr});
  for (int32_t row = 0; row < wire.num_rows; ++row)
    batch.positions.push_back(wire.first_position + row);
  if (wire.wants_output == 0) return;
  model::OutputRows& outputs = piece->outputs;
  const auto output_row = static_cast<int64_t>(outputs.rows.size());
  outputs.rows.push_back(static_cast<int32_t>(batch.rows() - 1));
  outputs.sequences.push_back(index);
  outputs.batch.positions.push_back(batch.positions.back());
  outputs.batch.sequences.push_back({output_row, 1, batch.positions.back(), nullptr});
}

void SetBlockTables(int64_t block_size, StagePiece* piece) {
  const int32_t* table = piece->blocks.data();
  size_t output = 0;
  for (size_t i = 0; i < piece->batch.sequences.size(); ++i) {
    kernels::SequenceRows& sequence = piece->batch.sequences[i];
    sequence.block_table = table;
    if (output < piece->outputs.sequences.size() &&
        piece->outputs.sequences[output] == static_cast<int32_t>(i)) {
      piece->outputs.batch.sequences[output++].block_table = table;
    }
    table += BlocksFor(sequence.first_position + sequence.num_rows, block_size);
  }
}

void Clear(StagePiece* piece) {
  piece->batch.positions.clear();
  piece->batch.sequences.clear();
  piece->outputs.rows.clear();
  piece->outputs.sequences.clear();
  piece->outputs.batch.positions.clear();
  piece->outputs.batch.sequences.clear();
  piece->blocks.clear();
}

}  // namespace

void EncodePiece(const model::StepBatch& batch, const model::OutputRows& outputs,
                 const StageMessage& message, const StageBounds& bounds,
                 std::vector<std::byte>* bytes) {
  PieceHeader header;
  header.epoch = message.epoch;
  header.number = message.number;
  header.num_blocks = bounds.num_blocks;
  header.block_size_tokens = bounds.block_size_tokens;
  header.rows = batch.rows();
  header.sequences = static_cast<int64_t>(batch.sequences.size());
  for (const kernels::SequenceRows& sequence : batch.sequences) {
    header.block_ids +=
        BlocksFor(sequence.first_position + sequence.num_rows, bounds.block_size_tokens);
  }
  bytes->resize(static_cast<size_t>(kPieceHeaderBytes + BodyBytes(header)));
  std::byte* place = bytes->data();
  Append(header, &place);
  size_t output = 0;
  for (const kernels::SequenceRows& sequence : batch.sequences) {
    WireSequence wire{static_cast<int32_t>(sequence.num_rows),
                      static_cast<int32_t>(sequence.first_position), 0};
    if (output < outputs.rows.size() &&
        outputs.rows[output] == sequence.first_row + sequence.num_rows - 1) {
      wire.wants_output = 1;
      ++output;
    }
    Append(wire, &place);
  }
  TESSERA_CHECK(output == outputs.rows.size()) << "an output that is not a sequence's last row";
  for (const kernels::SequenceRows& sequence : batch.sequences) {
    const int64_t count =
        BlocksFor(sequence.first_position + sequence.num_rows, bounds.block_size_tokens);
    for (int64_t i = 0; i < count; ++i) Append(sequence.block_table[i], &place);
  }
}

absl::StatusOr<int64_t> PieceBodyBytes(absl::Span<const std::byte> bytes,
                                       const StageMessage& expected, const StageBounds& bounds) {
  const PieceHeader header = ReadHeader(bytes);
  TESSERA_RETURN_IF_ERROR(ExpectEqual("magic", header.magic, kPieceMagic));
  TESSERA_RETURN_IF_ERROR(ExpectEqual("epoch", header.epoch, expected.epoch));
  TESSERA_RETURN_IF_ERROR(ExpectEqual("number", header.number, expected.number));
  TESSERA_RETURN_IF_ERROR(ExpectEqual("num_blocks", header.num_blocks, bounds.num_blocks));
  TESSERA_RETURN_IF_ERROR(
      ExpectEqual("block_size_tokens", header.block_size_tokens, bounds.block_size_tokens));
  TESSERA_RETURN_IF_ERROR(ExpectRange("rows", header.rows, 0, bounds.max_rows));
  TESSERA_RETURN_IF_ERROR(ExpectRange("sequences", header.sequences, 0, header.rows));
  TESSERA_RETURN_IF_ERROR(
      ExpectRange("block_ids", header.block_ids, 0,
                  header.sequences * BlocksFor(bounds.max_positions, bounds.block_size_tokens)));
  return BodyBytes(header);
}

absl::Status DecodePiece(absl::Span<const std::byte> bytes, const StageBounds& bounds,
                         StagePiece* piece) {
  const PieceHeader header = ReadHeader(bytes);
  TESSERA_CHECK(static_cast<int64_t>(bytes.size()) == kPieceHeaderBytes + BodyBytes(header))
      << bytes.size();
  Clear(piece);
  const std::byte* place = bytes.data() + kPieceHeaderBytes;
  int64_t block_ids = 0;
  for (int64_t i = 0; i < header.sequences; ++i) {
    WireSequence wire;
    std::memcpy(&wire, place, sizeof wire);
    place += sizeof wire;
    TESSERA_RETURN_IF_ERROR(
        ExpectRange("num_rows", wire.num_rows, 1, header.rows - piece->batch.rows()));
    TESSERA_RETURN_IF_ERROR(ExpectRange("first_position", wire.first_position, 0,
                                        bounds.max_positions - wire.num_rows));
    TESSERA_RETURN_IF_ERROR(ExpectRange("wants_output", wire.wants_output, 0, 1));
    AddSequence(wire, piece);
    block_ids += BlocksFor(int64_t{wire.first_position} + wire.num_rows, bounds.block_size_tokens);
  }
  TESSERA_RETURN_IF_ERROR(ExpectEqual("rows", header.rows, piece->batch.rows()));
  TESSERA_RETURN_IF_ERROR(ExpectEqual("block_ids", header.block_ids, block_ids));
  piece->blocks.resize(static_cast<size_t>(block_ids));
  if (block_ids > 0)
    std::memcpy(piece->blocks.data(), place, piece->blocks.size() * sizeof(int32_t));
  for (const int32_t block : piece->blocks)
    TESSERA_RETURN_IF_ERROR(ExpectRange("block id", block, 0, bounds.num_blocks - 1));
  SetBlockTables(bounds.block_size_tokens, piece);
  return absl::OkStatus();
}

void EncodeResultHeader(const StageMessage& message, int64_t rows, absl::Span<std::byte> header) {
  TESSERA_CHECK(static_cast<int64_t>(header.size()) == kResultHeaderBytes) << header.size();
  ResultHeader fields;
  fields.epoch = message.epoch;
  fields.number = message.number;
  fields.rows = rows;
  std::memcpy(header.data(), &fields, sizeof fields);
}

absl::Status CheckResultHeader(absl::Span<const std::byte> header, const StageMessage& expected,
                               int64_t rows) {
  TESSERA_CHECK(static_cast<int64_t>(header.size()) == kResultHeaderBytes) << header.size();
  ResultHeader fields;
  std::memcpy(&fields, header.data(), sizeof fields);
  TESSERA_RETURN_IF_ERROR(ExpectEqual("result magic", fields.magic, kResultMagic));
  TESSERA_RETURN_IF_ERROR(ExpectEqual("result epoch", fields.epoch, expected.epoch));
  TESSERA_RETURN_IF_ERROR(ExpectEqual("result number", fields.number, expected.number));
  return ExpectEqual("result rows", fields.rows, rows);
}

}  // namespace tessera::group
