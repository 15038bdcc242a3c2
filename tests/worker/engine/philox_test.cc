#include "worker/engine/philox.h"

#include "gtest/gtest.h"

namespace tessera::engine {
namespace {

// The known answers that the authors publish with Random123 (kat_vectors, philox4x32 with 10
// rounds).
TEST(Philox, GivesThePublishedAnswers) {
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}),
            (PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(Philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(UniformDraw, IsUniformInTheUnitInterval) {
  constexpr int kDraws = 100'000;
  constexpr int kBins = 20;
  int bins[kBins] = {};
  double sum = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double draw = UniformDraw(42, 0, i);
    ASSERT_GE(draw, 0);
    ASSERT_LT(draw, 1);
    ++bins[static_cast<int>(draw * kBins)];
    sum += draw;
  }
  // Five standard deviations.
  EXPECT_NEAR(sum / kDraws, 0.5, 5 * 0.2887 / 316.2);
  for (const int count : bins) EXPECT_NEAR(count, kDraws / kBins, 5 * 69);
}

TEST(UniformDraw, DependsOnSeedChoiceAndPosition) {
  const double draw = UniformDraw(1, 0, 0);
  EXPECT_EQ(draw, UniformDraw(1, 0, 0));
  EXPECT_NE(draw, UniformDraw(2, 0, 0));
  EXPECT_NE(draw, UniformDraw(1ull << 32 | 1, 0, 0));
  EXPECT_NE(draw, UniformDraw(1, 1, 0));
  EXPECT_NE(draw, UniformDraw(1, 0, 1));
  EXPECT_NE(draw, UniformDraw(1, 0, 1ull << 32));
}

}  // namespace
}  // namespace tessera::engine
