#include "services/cli/progress_line.h"

#include "gtest/gtest.h"

namespace tessera::cli {
namespace {

constexpr int64_t kMebi = 1 << 20;

TEST(ProgressText, SumsTheMembers) {
  EXPECT_EQ(ProgressText({}, 80), "");
  EXPECT_EQ(ProgressText({{"a", {0, 0}}}, 80), "");
  EXPECT_EQ(ProgressText({{"a", {kMebi, 4 * kMebi}}}, 80), "loading weights: 25 % of 4.0 MiB");
  EXPECT_EQ(ProgressText({{"a", {kMebi, 4 * kMebi}}, {"b", {4 * kMebi, 4 * kMebi}}}, 80),
            "loading weights: 62 % of 8.0 MiB on 2 ranks");
}

TEST(ProgressText, FitsTheTerminal) {
  EXPECT_EQ(ProgressText({{"a", {kMebi, 4 * kMebi}}}, 19), "loading weights: 25");
}

}  // namespace
}  // namespace tessera::cli
