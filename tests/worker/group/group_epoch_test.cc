// Epochs without failures: where experts live, how they move, what a rank does on its own.
#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/worker/group/column_requests.h"
#include "tests/worker/group/group_fixture.h"
#include "tests/worker/group/rank_group.h"
#include "worker/engine/step_group.h"
#include "worker/group/group_model.h"
#include "worker/kv/kv_rows.h"

namespace tessera::group {
namespace {

using testing::HasSubstr;

// Every expert on two ranks, and those divisible by three on all.
ExpertPlacement Redundant(const std::vector<int64_t>& experts_of_layer, int64_t columns) {
  ExpertPlacement placement = EvenPlacement(experts_of_layer, columns);
  for (auto& layer : placement.holders) {
    for (size_t expert = 0; expert < layer.size(); ++expert) {
      auto& holders = layer[expert];
      for (int32_t rank = 0; rank < columns; ++rank) {
        const bool wanted = expert % 3 == 0 || rank == (holders[0] + 1) % columns;
        if (wanted && rank != holders[0]) holders.push_back(rank);
      }
      std::sort(holders.begin(), holders.end());
      holders.erase(std::unique(holders.begin(), holders.end()), holders.end());
    }
  }
  return placement;
}

// Another home for each expert, and another one in each layer.
ExpertPlacement Rotated(const std::vector<int64_t>& experts_of_layer, int64_t columns) {
  ExpertPlacement placement = EvenPlacement(experts_of_layer, columns);
  for (size_t layer = 0; layer < placement.holders.size(); ++layer) {
    for (size_t expert = 0; expert < placement.holders[layer].size(); ++expert)
      placement.holders[layer][expert] = {static_cast<int32_t>((expert + layer) % columns)};
  }
  return placement;
}

// All on the last rank: the others compute nothing.
ExpertPlacement OnOne(const std::vector<int64_t>& experts_of_layer, int64_t columns) {
  ExpertPlacement placement = EvenPlacement(experts_of_layer, columns);
  for (auto& layer : placement.holders) {
    for (auto& holders : layer) holders = {static_cast<int32_t>(columns - 1)};
  }
  return placement;
}

class GroupEpochs : public testing::Test {
 protected:
  // One step of each column, all of which must do it.
  static void StepAll(RankGroup& group, std::vector<std::unique_ptr<ColumnRequests>>& requests,
                      int64_t chunk) {
    OnThreads(group.all_columns(), [&](int64_t column) {
      const absl::Status status =
          requests[static_cast<size_t>(column)]->Step(group.lead(column), chunk);
      EXPECT_TRUE(status.ok()) << status;
    });
  }
  static bool AllDone(const std::vector<std::unique_ptr<ColumnRequests>>& requests) {
    return std::all_of(requests.begin(), requests.end(),
                       [](auto& column) { return column->done(); });
  }

  GroupFixture fixture_{"noaux_groups", kernels::Compute::kBF16, {1, 9, 37, 64}};
};

TEST_F(GroupEpochs, ExpertsMoveBetweenStepsAndLeaveNoTrace) {
  for (const GroupShape shape : {GroupShape{1, 4}, GroupShape{2, 2}}) {
    const auto group = fixture_.MakeGroup(shape);
    const std::vector<std::vector<size_t>> prompts =
        shape.columns == 4 ? std::vector<std::vector<size_t>>{{0}, {1}, {2}, {3}}
                           : std::vector<std::vector<size_t>>{{0, 1}, {2, 3}};
    auto requests = fixture_.MakeRequests(*group, prompts);
    const Placer placers[] = {EvenPlacement, Redundant, OnOne, Rotated};
    for (size_t step = 0; !AllDone(requests); ++step) {
      ASSERT_LT(step, 40u);
      const Placer& placer = placers[step % 4];
      group->EnterAll(placer);
      for (int64_t stage = 0; stage < shape.stages; ++stage) {
        const ExpertPlacement placement = placer(group->ExpertsOfLayer(stage), shape.columns);
        for (int64_t column = 0; column < shape.columns; ++column) {
          for (size_t layer = 0; layer < placement.holders.size(); ++layer) {
            std::vector<int32_t> wanted;
            const auto& holders = placement.holders[layer];
            for (size_t e = 0; e < holders.size(); ++e) {
              if (std::count(holders[e].begin(), holders[e].end(), column))
                wanted.push_back(static_cast<int32_t>(e));
            }
            const auto held = group->shard(stage, column).experts(static_cast<int64_t>(layer));
            EXPECT_EQ(std::vector<int32_t>(held.begin(), held.end()), wanted);
          }
        }
      }
      StepAll(*group, requests, 11);
    }
    for (size_t column = 0; column < requests.size(); ++column)
      fixture_.ExpectTruth(*requests[column], prompts[column], "moving experts");
  }
}

TEST_F(GroupEpochs, CountsTheRowsOfEachExpert) {
  const auto group = fixture_.MakeGroup({1, 2});
  group->EnterAll(Redundant);
  const std::vector<std::vector<size_t>> prompts = {{1}, {3}};
  auto requests = fixture_.MakeRequests(*group, prompts);
  StepAll(*group, requests, kMaxTokens);
  const std::vector<int64_t> experts = group->ExpertsOfLayer(0);
  const int64_t rows[] = {9, 64};
  for (int64_t column = 0; column < 2; ++column) {
    const ExpertCounts counts = group->lead(column).TakeExpertCounts();
    ASSERT_EQ(counts.size(), experts.size());
    for (size_t layer = 0; layer < counts.size(); ++layer) {
      ASSERT_EQ(static_cast<int64_t>(counts[layer].size()), experts[layer]);
      if (experts[layer] == 0) continue;
      uint64_t sum = 0;
      for (const uint64_t count : counts[layer]) sum += count;
      // In the last layer only the row goes on that logits are asked of.
      const int64_t routed = layer + 1 == counts.size() ? 1 : rows[column];
      EXPECT_EQ(sum, static_cast<uint64_t>(routed * fixture_.language().num_experts_per_tok));
    }
    for (const auto& layer : group->lead(column).TakeExpertCounts()) {
      for (const uint64_t count : layer) EXPECT_EQ(count, 0u);
    }
  }
}

TEST_F(GroupEpochs, ABadSequenceFailsAlone) {
  for (const GroupShape shape : {GroupShape{1, 2}, GroupShape{2, 2}, GroupShape{1, 1}}) {
    const auto group = fixture_.MakeGroup(shape);
    group->EnterAll();
    std::vector<std::vector<size_t>> prompts(static_cast<size_t>(shape.columns), {2});
    auto requests = fixture_.MakeRequests(*group, prompts);
    OnThreads(group->all_columns(), [&](int64_t column) {
      ColumnRequests& mine = *requests[static_cast<size_t>(column)];
      GroupModel& model = group->lead(column);
      for (int step = 0; step < 6; ++step) {
        if (column == 0 && step == 1) {
          const int32_t bad_id = static_cast<int32_t>(fixture_.language().vocab_size);
          const int32_t block = 0;
          model::StepSequence bad;
          bad.token_ids = {&bad_id, 1};
          bad.block_table = {&block, 1};
          const absl::Status status = model.Forward({bad}, mine.layers(), {}, nullptr);
          EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
          EXPECT_FALSE(status.GetPayload(engine::kGroupBrokenPayload));
          continue;
        }
        const absl::Status status = mine.Step(model, 20);
        EXPECT_TRUE(status.ok()) << status;
      }
    });
    for (size_t column = 0; column < requests.size(); ++column)
      fixture_.ExpectTruth(*requests[column], prompts[column], "beside a bad sequence");
  }
}

// An image row that is not a number: its sequence is named, the other rank and later steps are
// untouched.
TEST_F(GroupEpochs, ALogitThatIsNotFiniteFailsItsSequenceAlone) {
  for (const GroupShape shape : {GroupShape{1, 2}, GroupShape{2, 2}, GroupShape{2, 1}}) {
    StepOptions options;
    options.micro_batches = 3;
    const auto group = fixture_.MakeGroup(shape, options);
    group->EnterAll();
    std::vector<std::vector<size_t>> prompts(static_cast<size_t>(shape.columns), {2});
    auto requests = fixture_.MakeRequests(*group, prompts);
    const int64_t hidden = fixture_.language().hidden_size;
    const int64_t vocab = fixture_.language().vocab_size;
    const std::vector<float> nans(static_cast<size_t>(hidden),
                                  std::numeric_limits<float>::quiet_NaN());
    OnThreads(group->all_columns(), [&](int64_t column) {
      ColumnRequests& mine = *requests[static_cast<size_t>(column)];
      GroupModel& model = group->lead(column);
      for (int step = 0; step < 6; ++step) {
        if (column == 0 && step == 1) {
          const std::vector<int32_t> ids = {1, 2};
          const int32_t blocks[] = {100, 101};
          std::vector<model::StepSequence> sequences(2);
          for (int i = 0; i < 2; ++i) {
            sequences[i].token_ids = ids;
            sequences[i].block_table = {&blocks[i], 1};
            sequences[i].wants_logits = true;
          }
          sequences[1].images.push_back({1, {nans.data(), 1, hidden, hidden}});
          std::vector<float> logits(static_cast<size_t>(2 * vocab));
          const absl::Status status =
              model.Forward(sequences, mine.layers(), {logits.data(), 2, vocab, vocab}, nullptr);
          EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << status;
          EXPECT_EQ(status.GetPayload(model::kSequenceIndexPayload), absl::Cord("1"));
          EXPECT_FALSE(status.GetPayload(engine::kGroupBrokenPayload));
          continue;
        }
        const absl::Status status = mine.Step(model, 20);
        EXPECT_TRUE(status.ok()) << status;
      }
    });
    for (size_t column = 0; column < requests.size(); ++column)
      fixture_.ExpectTruth(*requests[column], prompts[column], "beside a NaN");
  }
}

// With micro-batches, "written" is said once per layer, when all rows are there.
TEST_F(GroupEpochs, TellsOfWrittenKvOncePerLayer) {
  struct Observer final : model::KvObserver {
    void OnKvWritten(int64_t local_layer) override { layers.push_back(local_layer); }
    std::vector<int64_t> layers;
  };
  StepOptions options;
  options.micro_batches = 3;
  const auto group = fixture_.MakeGroup({2, 1}, options);
  group->EnterAll();
  auto requests = fixture_.MakeRequests(*group, {{2, 3}});
  Observer observer;
  group->lead(0).SetKvObserver(&observer);
  StepAll(*group, requests, kMaxTokens);
  std::vector<int64_t> expected;
  for (int64_t i = 0; i < group->lead(0).kv_layout().num_layers; ++i) expected.push_back(i);
  EXPECT_EQ(observer.layers, expected);
  group->lead(0).SetKvObserver(nullptr);
  StepAll(*group, requests, kMaxTokens);
  EXPECT_EQ(observer.layers, expected);
}

TEST_F(GroupEpochs, WithoutAnEpochNothingSteps) {
  const auto group = fixture_.MakeGroup({1, 1});
  auto requests = fixture_.MakeRequests(*group, {{0}});
  absl::Status status = requests[0]->Step(group->lead(0), kMaxTokens);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(status.GetPayload(engine::kGroupBrokenPayload));
  group->EnterAll();
  EXPECT_TRUE(requests[0]->Step(group->lead(0), kMaxTokens).ok());
  group->lead(0).Abort();
  status = requests[0]->Step(group->lead(0), kMaxTokens);
  EXPECT_TRUE(status.GetPayload(engine::kGroupBrokenPayload));
  group->EnterAll();
  StepAll(*group, requests, kMaxTokens);
  EXPECT_EQ(requests[0]->logits(0).size(), 2u);
}

TEST_F(GroupEpochs, RefusesAnEpochThatDoesNotFit) {
  const auto group = fixture_.MakeGroup({2, 1});
  const auto refusal = [&](GroupEpoch epoch) {
    const absl::Status status = group->lead(0).Enter(std::move(epoch));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  };
  GroupEpoch epoch;
  epoch.place = {1, 0};
  epoch.placement = EvenPlacement(group->ExpertsOfLayer(0), 1);
  EXPECT_THAT(refusal(std::move(epoch)), HasSubstr("place (1, 0)"));
  epoch = {};
  epoch.shape = {2, 1};
  epoch.placement = EvenPlacement(group->ExpertsOfLayer(0), 1);
  EXPECT_THAT(refusal(std::move(epoch)), HasSubstr("all is missing"));
  EXPECT_THAT(refusal({}), HasSubstr("placement: 0 layers"));
}

TEST_F(GroupEpochs, AFollowerTakesRowsOfAHandoff) {
  const auto group = fixture_.MakeGroup({2, 1});
  GroupFollower& follower = group->follower(1, 0);
  const model::KvLayout layout = group->shard(1, 0).kv_layout();
  const int64_t row_bytes = kv::RowBytes(kv::RowShapeOf(fixture_.language(), layout));
  const std::vector<std::byte> rows(static_cast<size_t>(20 * row_bytes));
  const std::vector<int32_t> blocks = {5, 191};
  EXPECT_TRUE(follower.WriteRows(0, blocks, 12, rows).ok());
  EXPECT_TRUE(follower.WriteRows(layout.num_layers - 1, blocks, 0, rows).ok());
  const auto message = [](const absl::Status& status) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(message(follower.WriteRows(layout.num_layers, blocks, 0, rows)), HasSubstr("layer"));
  EXPECT_THAT(message(follower.WriteRows(-1, blocks, 0, rows)), HasSubstr("layer -1"));
  EXPECT_THAT(message(follower.WriteRows(0, blocks, 13, rows)), HasSubstr("the blocks hold 32"));
  EXPECT_THAT(message(follower.WriteRows(0, blocks, -1, rows)), HasSubstr("position -1"));
  EXPECT_THAT(message(follower.WriteRows(0, blocks, std::numeric_limits<int64_t>::max(), rows)),
              HasSubstr("position"));
  EXPECT_THAT(message(follower.WriteRows(0, {192, 3}, 0, rows)), HasSubstr("block id 192"));
  EXPECT_THAT(message(follower.WriteRows(0, blocks, 0, absl::MakeConstSpan(rows).subspan(1))),
              HasSubstr("multiple"));
}

// More rows than go through a collective layer at a time, beside a rank with few.
TEST(GroupLargeSteps, AreCutIntoPieces) {
  GroupFixture fixture("tiny_mha", kernels::Compute::kF32, std::vector<int64_t>(31, 72));
  std::vector<std::vector<size_t>> prompts(2);
  for (size_t i = 0; i < 30; ++i) prompts[0].push_back(i);
  prompts[1] = {30};
  for (const GroupShape shape : {GroupShape{1, 2}, GroupShape{2, 2}}) {
    const auto group = fixture.MakeGroup(shape);
    group->EnterAll();
    const auto requests = fixture.MakeRequests(*group, prompts);
    OnThreads(group->all_columns(), [&](int64_t column) {
      for (int step = 0; step < 1 + kDecodeSteps; ++step) {
        const absl::Status status =
            requests[static_cast<size_t>(column)]->Step(group->lead(column), kMaxTokens);
        EXPECT_TRUE(status.ok()) << status;
      }
    });
    for (size_t column = 0; column < 2; ++column)
      fixture.ExpectTruth(*requests[column], prompts[column], "a large step");
  }
}

}  // namespace
}  // namespace tessera::group
