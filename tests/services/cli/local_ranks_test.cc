#include "services/cli/local_ranks.h"

#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/config/topology.h"

namespace tessera::cli {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> IdsOf(const std::string& topology, const std::string& worker_id = "") {
  config::ClusterConfig config;
  config.topology = config::ParseTopology(topology).value();
  config.worker.id = worker_id;
  std::vector<std::string> ids;
  for (const LocalRank& rank : LocalRanks(config)) {
    ids.push_back(rank.id);
  }
  return ids;
}

TEST(LocalRanks, WorkersAreRanksWithoutAGroup) {
  config::ClusterConfig config;
  config.num_workers = 2;
  const std::vector<LocalRank> ranks = LocalRanks(config);
  ASSERT_EQ(ranks.size(), 2u);
  EXPECT_EQ(ranks[1].member, "worker 1");
  EXPECT_EQ(ranks[1].id, "worker-1");
  EXPECT_EQ(ranks[1].role, "both");
  EXPECT_EQ(ranks[1].group.name, "");
  EXPECT_EQ(ranks[1].group.stages, 1);
  config.worker.id = "box";
  EXPECT_EQ(LocalRanks(config)[0].id, "box-0");
}

TEST(LocalRanks, IdsTellGroupAndPlace) {
  EXPECT_THAT(IdsOf("2x2"),
              ElementsAre("both-0-s0e0", "both-0-s0e1", "both-0-s1e0", "both-0-s1e1"));
  EXPECT_THAT(IdsOf("1x1*2"), ElementsAre("both-0", "both-1"));
  EXPECT_THAT(IdsOf("prefill=1x1,decode=1x2*2,decode=1x1"),
              ElementsAre("prefill-0", "decode-0-s0e0", "decode-0-s0e1", "decode-1-s0e0",
                          "decode-1-s0e1", "decode-2"));
  EXPECT_THAT(IdsOf("1x2", "box"), ElementsAre("box-both-0-s0e0", "box-both-0-s0e1"));
}

TEST(LocalRanks, KnowTheirPlace) {
  config::ClusterConfig config;
  config.topology = config::ParseTopology("prefill=1x1,decode=2x3").value();
  const std::vector<LocalRank> ranks = LocalRanks(config);
  ASSERT_EQ(ranks.size(), 7u);
  EXPECT_EQ(ranks[0].role, "prefill");
  EXPECT_EQ(ranks[0].group.name, "");  // a plain worker
  const LocalRank& last = ranks[6];
  EXPECT_EQ(last.member, "worker decode-0-s1e2");
  EXPECT_EQ(last.role, "decode");
  EXPECT_EQ(last.group.name, "decode-0");
  EXPECT_EQ(last.group.stages, 2);
  EXPECT_EQ(last.group.expert_ranks, 3);
  EXPECT_EQ(last.group.stage, 1);
  EXPECT_EQ(last.group.expert_rank, 2);
}

TEST(LocalRanks, NamesAreUniqueAndPlacesValid) {
  config::ClusterConfig config;
  config.topology =
      config::ParseTopology("both=2x2*2,prefill=1x4,decode=3x2*2,decode=1x1*3").value();
  std::set<std::string> ids, members;
  for (const LocalRank& rank : LocalRanks(config)) {
    ids.insert(rank.id);
    members.insert(rank.member);
    config::ClusterConfig child = config;
    child.worker.group = rank.group;
    child.worker.role = rank.role;
    EXPECT_TRUE(config::Validate(child).ok()) << rank.id;
  }
  EXPECT_EQ(ids.size(), 8u + 4u + 12u + 3u);
  EXPECT_EQ(members.size(), ids.size());
}

}  // namespace
}  // namespace tessera::cli
