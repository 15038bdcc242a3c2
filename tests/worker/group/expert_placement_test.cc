#include "worker/group/expert_placement.h"

#include <algorithm>
#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tessera::group {
namespace {

using testing::HasSubstr;

TEST(ExpertPlacement, EvenIsContiguousAndEven) {
  for (const int64_t ranks : {1, 2, 3, 4, 7}) {
    const ExpertPlacement placement = EvenPlacement({0, 16, 5}, ranks);
    EXPECT_TRUE(CheckPlacement(placement, {0, 16, 5}, ranks).ok());
    EXPECT_TRUE(placement.holders[0].empty());
    for (const auto& layer : placement.holders) {
      std::map<int32_t, int64_t> held;
      for (int64_t rank = 0; rank < ranks; ++rank) held[static_cast<int32_t>(rank)] = 0;
      int32_t last = 0;
      for (const auto& holders : layer) {
        ASSERT_EQ(holders.size(), 1u);
        EXPECT_GE(holders[0], last);
        last = holders[0];
        ++held[last];
      }
      const auto [least, most] = std::minmax_element(
          held.begin(), held.end(), [](auto& a, auto& b) { return a.second < b.second; });
      EXPECT_LE(most->second - least->second, 1);
    }
  }
}

TEST(ExpertPlacement, RowsStayAtHomeIfTheyCanAndSpreadIfNot) {
  const std::vector<int32_t> holders = {1, 3, 4};
  for (const int32_t holder : holders) EXPECT_EQ(HolderFor(holders, holder), holder);
  std::map<int32_t, int> chosen;
  for (int32_t home = 0; home < 12; ++home) {
    const int32_t found = HolderFor(holders, home);
    EXPECT_TRUE(std::count(holders.begin(), holders.end(), found));
    ++chosen[found];
  }
  EXPECT_EQ(chosen.size(), 3u);
}

TEST(ExpertPlacement, CheckNamesWhatIsWrong) {
  const ExpertPlacement good{{{}, {{0, 1}, {1}}}};
  EXPECT_TRUE(CheckPlacement(good, {0, 2}, 2).ok());
  const auto message = [](const ExpertPlacement& placement) {
    const absl::Status status = CheckPlacement(placement, {0, 2}, 2);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(message({{{}}}), HasSubstr("1 layers; must be 2"));
  EXPECT_THAT(message({{{{0}}, {{0}, {1}}}}), HasSubstr("layer 0: 1 experts; must be 0"));
  EXPECT_THAT(message({{{}, {{0}, {}}}}), HasSubstr("layer 1: expert 1 has no holder"));
  EXPECT_THAT(message({{{}, {{0}, {2}}}}), HasSubstr("rank 2; must be in 0..1"));
  EXPECT_THAT(message({{{}, {{-1}, {1}}}}), HasSubstr("rank -1; must be in 0..1"));
  EXPECT_THAT(message({{{}, {{1, 0}, {1}}}}), HasSubstr("must ascend"));
  EXPECT_THAT(message({{{}, {{0, 0}, {1}}}}), HasSubstr("must ascend"));
}

}  // namespace
}  // namespace tessera::group
