#include "services/config/topology.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tessera::config {
namespace {

using ::testing::HasSubstr;

std::string ErrorOf(std::string_view text) {
  const auto pools = ParseTopology(text);
  EXPECT_EQ(pools.status().code(), absl::StatusCode::kInvalidArgument) << text;
  return std::string(pools.status().message());
}

void ExpectPool(const PoolSettings& pool, const std::string& role, int64_t stages,
                int64_t expert_ranks, int64_t groups) {
  EXPECT_EQ(pool.role, role);
  EXPECT_EQ(pool.stages, stages);
  EXPECT_EQ(pool.expert_ranks, expert_ranks);
  EXPECT_EQ(pool.groups, groups);
}

TEST(Topology, ReadsPools) {
  const auto one = ParseTopology(" 2x3 ");
  ASSERT_TRUE(one.ok()) << one.status();
  ASSERT_EQ(one->size(), 1u);
  ExpectPool(one->front(), "both", 2, 3, 1);

  const auto three = ParseTopology("prefill=1x2,decode=3x4*5,both=1x1*2");
  ASSERT_TRUE(three.ok()) << three.status();
  ASSERT_EQ(three->size(), 3u);
  ExpectPool((*three)[0], "prefill", 1, 2, 1);
  ExpectPool((*three)[1], "decode", 3, 4, 5);
  ExpectPool((*three)[2], "both", 1, 1, 2);
  EXPECT_EQ(TopologyRanks(*three), 2 + 60 + 2);
  EXPECT_TRUE(ParseTopology("64x1").ok());
  EXPECT_TRUE(ParseTopology("8x8").ok());
}

TEST(Topology, ErrorsNamePositionAndWhatWasExpected) {
  EXPECT_EQ(ErrorOf(""), "\"\": expected a number of stages in [1, 64] at position 1, not the end");
  EXPECT_EQ(ErrorOf("2"),
            "\"2\": expected \"x\" and a number of expert ranks at position 2, not the end");
  EXPECT_EQ(ErrorOf("2y2"),
            "\"2y2\": expected \"x\" and a number of expert ranks at position 2, not \"y\"");
  EXPECT_EQ(ErrorOf("2x"),
            "\"2x\": expected a number of expert ranks in [1, 64] at position 3, not the end");
  EXPECT_EQ(ErrorOf("2x2*"),
            "\"2x2*\": expected a number of groups in [1, 64] at position 5, not the end");
}

TEST(Topology, RefusesWhatIsNoTopology) {
  EXPECT_THAT(ErrorOf("encode=1x1"),
              HasSubstr("expected both, prefill, decode or a number of stages at position 1, not "
                        "\"encode\""));
  EXPECT_THAT(ErrorOf("both1x1"), HasSubstr("expected \"=\" after the role at position 5"));
  EXPECT_THAT(ErrorOf("both=1x1,"), HasSubstr("a number of stages in [1, 64] at position 10"));
  EXPECT_THAT(ErrorOf("1x1;1x1"), HasSubstr("or the end at position 4, not \";\""));
  EXPECT_THAT(ErrorOf("1x1*2*3"), HasSubstr("\",\" and another pool, or the end at position 6"));
  EXPECT_THAT(ErrorOf("1x1, 1x1"), HasSubstr("a number of stages in [1, 64] at position 5"));
  for (const char* text : {"0x1", "1x0", "1x1*0", "65x1", "-1x1", "99999999999999999999x1", "1.5x1",
                           "1X1", "=1x1", ",", "x"}) {
    EXPECT_THAT(ErrorOf(text), HasSubstr("expected")) << text;
  }
}

TEST(Topology, BoundsTheRanksOfAllPools) {
  EXPECT_EQ(ErrorOf("9x8"), "\"9x8\": 72 ranks in all are not in [1, 64]");
  EXPECT_THAT(ErrorOf("64x1,1x1"), HasSubstr("65 ranks in all"));
  EXPECT_THAT(ErrorOf("64x64*64"), HasSubstr("262144 ranks in all"));
}

TEST(Topology, PrefillAndDecodeNeedEachOther) {
  EXPECT_THAT(ErrorOf("prefill=1x2"),
              HasSubstr("there is a pool of role prefill but none of role decode: add one, such as "
                        "decode=1x1, or use the role both"));
  EXPECT_THAT(ErrorOf("both=1x1,decode=1x2"), HasSubstr("decode but none of role prefill"));
  EXPECT_TRUE(ParseTopology("decode=1x1,prefill=1x1").ok());
}

TEST(Topology, FormatsWhatItReads) {
  for (const char* text :
       {"1x1", "2x2", "1x2*2", "prefill=1x2,decode=1x2", "prefill=1x1*3,decode=2x4,1x1"}) {
    const auto pools = ParseTopology(text);
    ASSERT_TRUE(pools.ok()) << pools.status();
    EXPECT_EQ(FormatTopology(*pools), text);
  }
  EXPECT_EQ(FormatTopology({}), "");
}

TEST(Topology, ChecksPoolsThatCameAsValues) {
  EXPECT_TRUE(CheckTopology({}).ok());
  EXPECT_EQ(CheckTopology({{.role = "other"}}).message(),
            "pool 1: \"other\" is not one of: both, prefill, decode");
  EXPECT_EQ(CheckTopology({{}, {.stages = 0}}).message(), "pool 2: stages: 0 is not in [1, 64]");
}

TEST(Topology, WorkersAreGroupsOfOne) {
  ClusterConfig config;
  config.num_workers = 3;
  ASSERT_EQ(PoolsOf(config).size(), 1u);
  ExpectPool(PoolsOf(config).front(), "both", 1, 1, 3);
  config.topology = {{.role = "prefill"}, {.role = "decode", .groups = 2}};
  EXPECT_EQ(FormatTopology(PoolsOf(config)), "prefill=1x1,decode=1x1*2");
}

}  // namespace
}  // namespace tessera::config
