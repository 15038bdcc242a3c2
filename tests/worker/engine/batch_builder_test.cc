#include "worker/engine/batch_builder.h"

#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "worker/engine/sequence.h"

namespace tessera::engine {
namespace {

constexpr StepLimits kLimits{4, 20, 8};

SequenceView Decode(int64_t tokens, int64_t blocks) { return {tokens, tokens - 1, blocks, {}}; }
SequenceView Prompt(int64_t tokens) { return {tokens, 0, 0, {}}; }

std::vector<std::pair<int64_t, int64_t>> RowsOf(const StepPlan& plan) {
  std::vector<std::pair<int64_t, int64_t>> rows;
  for (const PlannedRows& planned : plan.rows)
    rows.emplace_back(planned.sequence, planned.num_rows);
  return rows;
}
using Rows = std::vector<std::pair<int64_t, int64_t>>;

TEST(PlanStep, DecodesComeBeforePromptsThenBothByAge) {
  const StepPlan plan = PlanStep({Prompt(30), Decode(6, 2), Prompt(5), Decode(9, 3)}, 100, kLimits);
  EXPECT_EQ(RowsOf(plan), (Rows{{1, 1}, {3, 1}, {0, 8}, {2, 5}}));
  EXPECT_EQ(plan.rows_left, 5);
  EXPECT_EQ(plan.blocks_left, 100 - 2 - 2);
}

TEST(PlanStep, TheStepsRowsAreBounded) {
  const StepPlan plan = PlanStep({Prompt(8), Prompt(8), Prompt(8), Prompt(8)}, 100, kLimits);
  EXPECT_EQ(RowsOf(plan), (Rows{{0, 8}, {1, 8}, {2, 4}}));
  EXPECT_EQ(plan.rows_left, 0);
}

TEST(PlanStep, AChunkIsCutToTheBlocksThatAreLeft) {
  const StepPlan plan = PlanStep({SequenceView{30, 6, 2, {}}}, 1, kLimits);
  EXPECT_EQ(RowsOf(plan), (Rows{{0, 6}}));
  EXPECT_EQ(plan.blocks_left, 0);
}

TEST(PlanStep, ADecodeInsideItsBlockNeedsNoOther) {
  EXPECT_EQ(RowsOf(PlanStep({Decode(8, 2)}, 0, kLimits)), (Rows{{0, 1}}));
}

TEST(PlanStep, WithoutABlockForAnOlderOneTheYoungestIsPreempted) {
  EXPECT_TRUE(PlanStep({Decode(9, 2), Decode(8, 2)}, 0, kLimits).preempt_last);
  EXPECT_TRUE(PlanStep({Prompt(5), Decode(8, 2)}, 0, kLimits).preempt_last);
  // The youngest itself is the one without a block.
  EXPECT_TRUE(PlanStep({Decode(8, 2), Decode(9, 2)}, 0, kLimits).preempt_last);
}

TEST(PlanStep, OnePictureIsEncodedAndTheChunkEndsBeforeTheNext) {
  const std::vector<ImageView> two = {{1, 2, false}, {4, 3, false}};
  const StepPlan plan = PlanStep({SequenceView{8, 0, 0, two}}, 100, kLimits);
  EXPECT_EQ(RowsOf(plan), (Rows{{0, 4}}));
  ASSERT_TRUE(plan.encoding.has_value());
  EXPECT_EQ(plan.encoding->image, 0);
}

TEST(PlanStep, ReadyAndPassedPicturesNeedNothing) {
  const std::vector<ImageView> images = {{0, 2, false}, {2, 2, true}, {4, 3, true}, {9, 2, false}};
  const StepPlan plan = PlanStep({SequenceView{20, 2, 1, images}}, 100, {4, 20, 7});
  EXPECT_EQ(RowsOf(plan), (Rows{{0, 7}}));
  EXPECT_FALSE(plan.encoding.has_value());
}

TEST(PlanStep, ASecondSequenceWithAPictureWaitsAStepAtThePicture) {
  const std::vector<ImageView> image = {{2, 3, false}};
  const std::vector<ImageView> first = {{0, 3, false}};
  const StepPlan plan = PlanStep({SequenceView{8, 0, 0, image}, SequenceView{8, 0, 0, image},
                                  SequenceView{8, 0, 0, first}, SequenceView{2, 0, 0, {}}},
                                 100, kLimits);
  EXPECT_EQ(RowsOf(plan), (Rows{{0, 8}, {1, 2}, {3, 2}}));
  EXPECT_EQ(plan.encoding->sequence, 0);
}

TEST(PlanStep, AChunkMayBeginInsideAPicture) {
  const std::vector<ImageView> image = {{2, 6, false}};
  const StepPlan plan = PlanStep({SequenceView{12, 4, 1, image}}, 100, kLimits);
  EXPECT_EQ(RowsOf(plan), (Rows{{0, 8}}));
  EXPECT_EQ(plan.encoding->image, 0);
}

TEST(PlanStep, KeepsItsBoundsOnRandomInputAndTheOldestAlwaysGains) {
  std::mt19937 random(1);
  for (int round = 0; round < 5000; ++round) {
    SCOPED_TRACE(round);
    const StepLimits limits{static_cast<int64_t>(1 + random() % 5),
                            static_cast<int64_t>(8 + random() % 20),
                            static_cast<int64_t>(1 + random() % 12)};
    std::vector<std::vector<ImageView>> images(1 + random() % 8);
    std::vector<SequenceView> views;
    for (auto& list : images) {
      const int64_t tokens = 1 + random() % 30;
      for (int64_t at = random() % 6; at + 4 < tokens; at += 4 + random() % 6) {
        list.push_back({at, 1 + static_cast<int64_t>(random() % 4), random() % 2 == 0});
      }
      const int64_t computed = random() % 3 == 0 ? tokens - 1 : random() % tokens;
      views.push_back({tokens, computed, BlocksFor(computed, limits.block_size_tokens), list});
    }
    const int64_t available = random() % 12;
    const StepPlan plan = PlanStep(views, available, limits);
    if (plan.preempt_last) {
      ASSERT_TRUE(plan.rows.empty());
      // Enough blocks for everybody's chunk would have left no reason.
      ASSERT_LT(available, 8 * BlocksFor(31, limits.block_size_tokens));
      continue;
    }
    ASSERT_FALSE(plan.rows.empty());
    int64_t rows = 0;
    int64_t blocks = 0;
    std::vector<bool> seen(views.size());
    for (const PlannedRows& planned : plan.rows) {
      const SequenceView& view = views[planned.sequence];
      ASSERT_FALSE(seen[planned.sequence]);
      seen[planned.sequence] = true;
      ASSERT_GE(planned.num_rows, 1);
      ASSERT_LE(planned.num_rows, limits.prefill_chunk_tokens);
      const int64_t end = view.num_computed + planned.num_rows;
      ASSERT_LE(end, view.num_tokens);
      rows += planned.num_rows;
      blocks += std::max<int64_t>(0, BlocksFor(end, limits.block_size_tokens) - view.num_blocks);
      for (size_t i = 0; i < view.images.size(); ++i) {
        const ImageView& image = view.images[i];
        const bool touched =
            image.first_token < end && image.first_token + image.num_tokens > view.num_computed;
        const bool encoded = plan.encoding && plan.encoding->sequence == planned.sequence &&
                             plan.encoding->image == static_cast<int64_t>(i);
        ASSERT_TRUE(!touched || image.ready || encoded);
        ASSERT_TRUE(!encoded || touched);
      }
    }
    ASSERT_LE(rows, limits.max_step_tokens);
    ASSERT_EQ(plan.rows_left, limits.max_step_tokens - rows);
    ASSERT_LE(blocks, available);
    ASSERT_EQ(plan.blocks_left, available - blocks);
  }
}

TEST(FirstStalled, NamesTheOldestThatNothingHappenedFor) {
  const absl::Time now = absl::UnixEpoch() + absl::Hours(1);
  const absl::Duration limit = absl::Seconds(60);
  const absl::Time old = now - absl::Seconds(61);
  EXPECT_EQ(FirstStalled({}, now, limit), std::nullopt);
  EXPECT_EQ(FirstStalled({now, old, old}, now, limit), std::nullopt);  // they wait for the first
  EXPECT_EQ(FirstStalled({old, now}, now, limit), 0);
  EXPECT_EQ(FirstStalled({now - limit}, now, limit), std::nullopt);
}

}  // namespace
}  // namespace tessera::engine
