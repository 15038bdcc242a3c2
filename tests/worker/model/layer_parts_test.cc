// The small pieces of the forward pass that need no weights.
#include <cmath>
#include <cstring>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/thread_pool.h"
#include "worker/model/local_expert_dispatch.h"
#include "worker/model/mapped_buffer.h"
#include "worker/model/rotary.h"
#include "worker/model/scratch.h"
#include "worker/model/tile_layout.h"
#include "worker/model/weights.h"

namespace tessera::model {
namespace {

using testing::ElementsAre;

constexpr float kNewline = -1;
constexpr float kSeparator = -2;

// Tiles of side 2 whose cell (y, x) of tile t holds 100 t + 10 y + x.
std::vector<float> Arrange(int64_t across, int64_t down, bool global_first) {
  const TileLayout layout{2, across, down, global_first};
  std::vector<float> tiles;
  for (int t = 0; t < 1 + across * down; ++t) {
    for (int cell = 0; cell < 4; ++cell)
      tiles.push_back(static_cast<float>(100 * t + 10 * (cell / 2) + cell % 2));
  }
  std::vector<float> out(static_cast<size_t>(layout.num_rows()));
  ArrangeTiles(layout, {tiles.data(), static_cast<int64_t>(tiles.size()), 1, 1}, &kNewline,
               &kSeparator, {out.data(), layout.num_rows(), 1, 1});
  return out;
}

// golden README, point 23
TEST(TileLayout, ArrangesLocalTilesAsOnePicture) {
  EXPECT_THAT(Arrange(2, 1, true), ElementsAre(0, 1, -1, 10, 11, -1,  //
                                               -2,                    //
                                               100, 101, 200, 201, -1, 110, 111, 210, 211, -1));
  EXPECT_THAT(Arrange(1, 2, false),
              ElementsAre(100, 101, -1, 110, 111, -1, 200, 201, -1, 210, 211, -1,  //
                          -2,                                                      //
                          0, 1, -1, 10, 11, -1));
}

TEST(TileLayout, CountsRowsAsTheProcessorDoes) {
  const TileLayout layout{14, 3, 2, true};
  EXPECT_EQ(layout.num_rows(), 14 * 15 + 1 + (2 * 14) * (3 * 14 + 1));
}

TEST(Rotary, PlainTableHoldsCosAndSinOfPositionTimesFrequency) {
  LanguageConfig config;
  config.qk_rope_head_dim = 8;
  config.max_position_embeddings = 50;
  const RotaryTables tables(config);
  const kernels::RopeTable table = tables.view();
  EXPECT_EQ(table.rotary_dim, 8);
  EXPECT_EQ(table.max_positions, 50);
  for (int position : {0, 1, 49}) {
    for (int i = 0; i < 4; ++i) {
      const double angle = position * std::pow(10000.0, -2.0 * i / 8);
      EXPECT_NEAR(table.cos[position * 4 + i], std::cos(angle), 1e-5);
      EXPECT_NEAR(table.sin[position * 4 + i], std::sin(angle), 1e-5);
    }
  }
}

// golden README, point 28, with numbers that put the ramp between dimension 0 and 2: entries beyond
// it are divided by the factor.
TEST(Rotary, YarnStretchesSlowDimensionsAndScalesMagnitudes) {
  LanguageConfig config;
  config.qk_rope_head_dim = 32;
  config.max_position_embeddings = 4;
  config.yarn = YarnConfig{8.0, 32, 1, 1.0, 0.707, 512};
  const RotaryTables tables(config);
  const kernels::RopeTable table = tables.view();
  const double magnitude = (0.1 * std::log(8.0) + 1) / (0.0707 * std::log(8.0) + 1);
  const auto frequency = [](int i) { return std::pow(10000.0, -2.0 * i / 32); };
  // low = floor(32 ln(512 / (32 * 2 pi)) / (2 ln 10000)) = 1, high = ceil(32 ln(512 / (2 pi)) / (2
  // ln 10000)) = 8
  EXPECT_NEAR(table.sin[16 + 0], std::sin(frequency(0)) * magnitude, 1e-6);
  EXPECT_NEAR(table.sin[16 + 12], std::sin(frequency(12) / 8) * magnitude, 1e-6);
  const double ramp = (4.0 - 1) / (8 - 1);
  EXPECT_NEAR(table.sin[16 + 4],
              std::sin(frequency(4) / 8 * ramp + frequency(4) * (1 - ramp)) * magnitude, 1e-6);
  config.qk_nope_head_dim = 32;
  const double all_dim = 0.0707 * std::log(8.0) + 1;
  EXPECT_NEAR(SoftmaxScale(config), all_dim * all_dim / 8, 1e-6);
}

TEST(LocalExpertDispatch, GroupsSlotsByExpertAndCombinesThemInOrder) {
  kernels::ThreadPool pool(1);
  const std::unique_ptr<kernels::Stream> stream = kernels::MakeCpuStream(pool);
  const ComputeContext context{kernels::KernelsFor(kernels::Backend::kReference), stream.get(),
                               kernels::Compute::kF32};
  LocalExpertDispatch dispatch(context, 5);
  const std::vector<float> x = {1, 10, 100};  // [3, 1]
  const std::vector<int32_t> ids = {1, 4, 0, 4, 1, 3};
  const std::vector<float> weights = {0.5f, 0.25f, 2, 3, 1, 1};
  EXPECT_FALSE(dispatch.collective());
  ASSERT_TRUE(dispatch.Start(0, {{x.data(), 3, 1, 1}, ids, weights, 2}).ok());
  const auto work = dispatch.Wait();
  ASSERT_TRUE(work.ok());
  EXPECT_EQ(work->num_slots, 6);
  EXPECT_THAT(work->x_rows, ElementsAre(1, 0, 2, 2, 0, 1));  // experts 0; 1, 1; 3; 4, 4
  ASSERT_EQ(work->groups.size(), 4u);
  EXPECT_EQ(work->groups[1].expert, 1);
  EXPECT_EQ(work->groups[1].first_slot, 1);
  EXPECT_EQ(work->groups[1].num_slots, 2);
  std::vector<float> expert_out;  // expert e multiplies by e + 1
  for (const ExpertWork::Group& group : work->groups) {
    for (int64_t slot = group.first_slot; slot < group.first_slot + group.num_slots; ++slot) {
      expert_out.push_back(x[work->x_rows[slot]] * static_cast<float>(group.expert + 1));
    }
  }
  std::vector<float> out(3);
  ASSERT_TRUE(dispatch.Combine({expert_out.data(), 6, 1, 1}, {out.data(), 3, 1, 1}).ok());
  EXPECT_THAT(
      out, ElementsAre(1 * 2 * 0.5f + 1 * 5 * 0.25f, 10 * 1 * 2 + 10 * 5 * 3, 100 * 2 + 100 * 4));
}

TEST(WeightArena, HandsOutAlignedPiecesThatDoNotOverlap) {
  WeightArena arena;
  auto first = arena.Allocate(100);
  auto second = arena.Allocate(200 << 20);  // larger than a slab
  auto third = arena.Allocate(1);
  ASSERT_TRUE(first.ok() && second.ok() && third.ok());
  for (void* piece : {*first, *second, *third})
    EXPECT_EQ(reinterpret_cast<uintptr_t>(piece) % 64, 0u);
  std::memset(*first, 1, 100);
  std::memset(*third, 2, 1);
  EXPECT_EQ(static_cast<uint8_t*>(*first)[99], 1);
  EXPECT_EQ(arena.allocated_bytes(), 128 + (int64_t{200} << 20) + 64);
}

TEST(ScratchMat, GrowsAndKeepsItsMemory) {
  ScratchMat scratch;
  const kernels::Mat large = scratch.Get(1000, 1000);
  EXPECT_EQ(scratch.Get(10, 7).data, large.data);
  EXPECT_EQ(scratch.Get(10, 7).stride, 7);
  EXPECT_GE(scratch.bytes(), 4'000'000);
  EXPECT_EQ(scratch.Get(0, 5).rows, 0);
}

TEST(MappedBuffer, RefusesWhatCannotBeHad) {
  EXPECT_EQ(MappedBuffer::Create(int64_t{1} << 62).status().code(),
            absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace tessera::model
