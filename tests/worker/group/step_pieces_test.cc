#include "worker/group/step_pieces.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "gtest/gtest.h"

namespace tessera::group {
namespace {

class StepPiecesTest : public testing::Test {
 protected:
  StepPiecesTest() {
    ids_.resize(64);
    std::iota(ids_.begin(), ids_.end(), 100);
    const int64_t lengths[] = {1, 20, 3, 5};
    const int64_t first_positions[] = {7, 32, 0, 4};
    size_t begin = 0;
    for (int i = 0; i < 4; ++i) {
      model::StepSequence& sequence = sequences_.emplace_back();
      sequence.token_ids = absl::MakeConstSpan(ids_).subspan(begin, lengths[i]);
      sequence.first_position = first_positions[i];
      sequence.block_table = blocks_;
      sequence.wants_logits = i != 2;
      begin += lengths[i];
    }
    sequences_[1].images.push_back({2, {features_.data(), 6, 4, 4}});
    sequences_[1].images.push_back({12, {features_.data() + 24, 8, 4, 4}});
  }

  std::vector<int32_t> ids_;
  std::vector<int32_t> blocks_ = {3, 1, 2, 0};
  std::vector<float> features_ = std::vector<float>(56);
  std::vector<model::StepSequence> sequences_;
};

TEST_F(StepPiecesTest, PiecesTogetherAreTheStep) {
  const int64_t rows = CountRows(sequences_);
  EXPECT_EQ(rows, 29);
  EXPECT_EQ(CountOutputs(sequences_), 3);
  StepPieces pieces;
  for (int64_t num_pieces = 1; num_pieces <= rows; ++num_pieces) {
    pieces.Cut(sequences_, num_pieces);
    ASSERT_EQ(pieces.size(), num_pieces);
    size_t index = 0;
    int64_t begin = 0;  // row of the sequence
    int64_t outputs = 0;
    std::vector<const float*> image_rows;
    for (int64_t piece = 0; piece < num_pieces; ++piece) {
      const int64_t piece_rows = CountRows(pieces.sequences(piece));
      EXPECT_GE(piece_rows, rows / num_pieces);
      EXPECT_LE(piece_rows, (rows + num_pieces - 1) / num_pieces);
      EXPECT_EQ(pieces.first_output(piece), outputs);
      EXPECT_EQ(pieces.num_outputs(piece), CountOutputs(pieces.sequences(piece)));
      outputs += pieces.num_outputs(piece);
      for (const model::StepSequence& part : pieces.sequences(piece)) {
        const model::StepSequence& whole = sequences_[index];
        EXPECT_EQ(part.token_ids.data(), whole.token_ids.data() + begin);
        EXPECT_EQ(part.first_position, whole.first_position + begin);
        EXPECT_EQ(part.block_table.data(), whole.block_table.data());
        for (const model::EmbeddingSpan& image : part.images) {
          EXPECT_LE(image.first_row + image.features.rows,
                    static_cast<int64_t>(part.token_ids.size()));
          for (int64_t row = 0; row < image.features.rows; ++row) {
            image_rows.push_back(image.features.row(row));
            const int64_t place = begin + image.first_row + row;
            EXPECT_EQ(image.features.row(row),
                      features_.data() + 4 * (place < 8 ? place - 2 : place - 12 + 6));
          }
        }
        begin += static_cast<int64_t>(part.token_ids.size());
        const bool ends = begin == static_cast<int64_t>(whole.token_ids.size());
        EXPECT_EQ(part.wants_logits, whole.wants_logits && ends);
        if (!ends) continue;
        ++index;
        begin = 0;
      }
    }
    EXPECT_EQ(index, sequences_.size());
    EXPECT_EQ(image_rows.size(), 14u);
    EXPECT_EQ(
        std::vector<int32_t>(pieces.output_sequences().begin(), pieces.output_sequences().end()),
        (std::vector<int32_t>{0, 1, 3}));
    EXPECT_TRUE(pieces.sequences(num_pieces).empty());
    EXPECT_EQ(pieces.num_outputs(num_pieces), 0);
  }
}

TEST_F(StepPiecesTest, AStepWithoutRowsHasNoPieces) {
  StepPieces pieces;
  pieces.Cut(sequences_, 3);
  pieces.Cut({}, 0);
  EXPECT_EQ(pieces.size(), 0);
  EXPECT_TRUE(pieces.sequences(0).empty());
  EXPECT_TRUE(pieces.output_sequences().empty());
}

}  // namespace
}  // namespace tessera::group
