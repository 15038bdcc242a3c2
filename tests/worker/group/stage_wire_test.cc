#include "worker/group/stage_wire.h"

#include <cstring>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/base/status_macros.h"

namespace tessera::group {
namespace {

using testing::HasSubstr;

constexpr StageBounds kBounds{/*num_blocks=*/50, /*block_size_tokens=*/4, /*max_rows=*/64,
                              /*max_positions=*/100};
constexpr StageMessage kMessage{7, 12};

class StageWire : public testing::Test {
 protected:
  StageWire() {
    ids_.resize(40);
    const std::vector<std::vector<int32_t>> tables = {{9, 0, 49}, {1, 2, 3, 4, 5}, {6, 7}};
    const int64_t lengths[] = {1, 20, 3};
    const int64_t first_positions[] = {10, 0, 4};
    tables_ = tables;
    for (int i = 0; i < 3; ++i) {
      model::StepSequence& sequence = sequences_.emplace_back();
      sequence.token_ids = absl::MakeConstSpan(ids_).subspan(0, lengths[i]);
      sequence.first_position = first_positions[i];
      sequence.block_table = tables_[i];
      sequence.wants_logits = i != 1;
    }
    model::BuildStepBatch(sequences_, &batch_, &outputs_);
    EncodePiece(batch_, outputs_, kMessage, kBounds, &bytes_);
  }

  absl::Status Decode(absl::Span<const std::byte> bytes) {
    const absl::Span<const std::byte> header = bytes.subspan(0, kPieceHeaderBytes);
    TESSERA_ASSIGN_OR_RETURN(const int64_t body, PieceBodyBytes(header, kMessage, kBounds));
    if (kPieceHeaderBytes + body != static_cast<int64_t>(bytes.size()))
      return absl::InternalError("another size");
    return DecodePiece(bytes, kBounds, &piece_);
  }

  void ExpectBatch(const model::StepBatch& found, const model::StepBatch& expected) {
    EXPECT_EQ(found.positions, expected.positions);
    ASSERT_EQ(found.sequences.size(), expected.sequences.size());
    for (size_t i = 0; i < found.sequences.size(); ++i) {
      const kernels::SequenceRows& a = found.sequences[i];
      const kernels::SequenceRows& b = expected.sequences[i];
      EXPECT_EQ(a.first_row, b.first_row);
      EXPECT_EQ(a.num_rows, b.num_rows);
      EXPECT_EQ(a.first_position, b.first_position);
      for (int64_t j = 0; j < (b.first_position + b.num_rows + 3) / 4; ++j)
        EXPECT_EQ(a.block_table[j], b.block_table[j]);
    }
  }

  std::vector<int32_t> ids_;
  std::vector<std::vector<int32_t>> tables_;
  std::vector<model::StepSequence> sequences_;
  model::StepBatch batch_;
  model::OutputRows outputs_;
  std::vector<std::byte> bytes_;
  StagePiece piece_;
};

TEST_F(StageWire, ComesOutAsItWentIn) {
  for (int repeat = 0; repeat < 2; ++repeat) {  // also into a piece that was used before
    ASSERT_TRUE(Decode(bytes_).ok());
    ExpectBatch(piece_.batch, batch_);
    EXPECT_EQ(piece_.outputs.rows, outputs_.rows);
    EXPECT_EQ(piece_.outputs.sequences, outputs_.sequences);
    ExpectBatch(piece_.outputs.batch, outputs_.batch);
  }
  model::BuildStepBatch({}, &batch_, &outputs_);
  EncodePiece(batch_, outputs_, kMessage, kBounds, &bytes_);
  EXPECT_EQ(static_cast<int64_t>(bytes_.size()), kPieceHeaderBytes);
  ASSERT_TRUE(Decode(bytes_).ok());
  EXPECT_EQ(piece_.batch.rows(), 0);
  EXPECT_TRUE(piece_.batch.sequences.empty());
  EXPECT_TRUE(piece_.outputs.rows.empty());
}

TEST_F(StageWire, NamesWhatIsNotExpected) {
  const auto message = [&](const StageMessage& expected, const StageBounds& bounds) {
    const auto body =
        PieceBodyBytes(absl::MakeConstSpan(bytes_).subspan(0, kPieceHeaderBytes), expected, bounds);
    EXPECT_EQ(body.status().code(), absl::StatusCode::kInternal);
    return std::string(body.status().message());
  };
  EXPECT_THAT(message({8, 12}, kBounds), HasSubstr("epoch is 7; must be 8"));
  EXPECT_THAT(message({7, 11}, kBounds), HasSubstr("number is 12; must be 11"));
  EXPECT_THAT(message(kMessage, {49, 4, 64, 100}), HasSubstr("num_blocks is 50; must be 49"));
  EXPECT_THAT(message(kMessage, {50, 8, 64, 100}), HasSubstr("block_size_tokens is 4"));
  EXPECT_THAT(message(kMessage, {50, 4, 23, 100}), HasSubstr("rows is 24; must be in 0..23"));
  EXPECT_THAT(message(kMessage, {50, 4, 64, 8}), HasSubstr("block_ids"));
}

// Whatever one changed byte does, it is refused or gives a batch within the bounds.
TEST_F(StageWire, DamagedBytesStayWithinTheBounds) {
  std::mt19937 random(5);
  int refused = 0;
  for (size_t i = 0; i < bytes_.size(); ++i) {
    for (int repeat = 0; repeat < 8; ++repeat) {
      std::vector<std::byte> damaged = bytes_;
      damaged[i] ^= static_cast<std::byte>(1 + random() % 255);
      const absl::Status status = Decode(damaged);
      refused += !status.ok();
      if (!status.ok()) continue;
      int64_t rows = 0;
      for (const kernels::SequenceRows& sequence : piece_.batch.sequences) {
        EXPECT_EQ(sequence.first_row, rows);
        rows += sequence.num_rows;
        const int64_t positions = sequence.first_position + sequence.num_rows;
        EXPECT_GE(sequence.first_position, 0);
        EXPECT_LE(positions, kBounds.max_positions);
        for (int64_t j = 0; j < (positions + 3) / 4; ++j) {
          EXPECT_GE(sequence.block_table[j], 0);
          EXPECT_LT(sequence.block_table[j], kBounds.num_blocks);
        }
      }
      EXPECT_EQ(rows, piece_.batch.rows());
    }
  }
  EXPECT_GT(refused, static_cast<int>(bytes_.size()) * 4);
}

TEST(StageWireResult, IsCheckedOnReceipt) {
  std::vector<std::byte> header(static_cast<size_t>(kResultHeaderBytes));
  EncodeResultHeader(kMessage, 5, absl::MakeSpan(header));
  EXPECT_TRUE(CheckResultHeader(header, kMessage, 5).ok());
  EXPECT_FALSE(CheckResultHeader(header, kMessage, 4).ok());
  EXPECT_FALSE(CheckResultHeader(header, {7, 13}, 5).ok());
  EXPECT_FALSE(CheckResultHeader(header, {6, 12}, 5).ok());
  header[0] ^= std::byte{1};
  EXPECT_FALSE(CheckResultHeader(header, kMessage, 5).ok());
}

}  // namespace
}  // namespace tessera::group
