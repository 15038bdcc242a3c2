#include "services/cli/local_cluster.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/config/topology.h"

namespace tessera::cli {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;

LocalClusterOptions Options() {
  LocalClusterOptions options;
  options.config.model.path = "/m";
  options.config.model.name = "m";
  options.arguments = {"--config", "c.yaml"};
  return options;
}

// One of the plain workers of Options().
LocalRank Rank(size_t index) {
  config::ClusterConfig config = Options().config;
  config.num_workers = 2;
  return LocalRanks(config).at(index);
}

TEST(LocalCluster, SharesProcessorsAmongWorkers) {
  config::ClusterConfig config;
  EXPECT_EQ(WorkerThreads(config, 8), 8);
  config.num_workers = 3;
  EXPECT_EQ(WorkerThreads(config, 8), 2);
  EXPECT_EQ(WorkerThreads(config, 2), 1);
  config.topology = config::ParseTopology("prefill=1x2,decode=2x1*2").value();
  EXPECT_EQ(WorkerThreads(config, 12), 2);
  config.worker.threads = 5;
  EXPECT_EQ(WorkerThreads(config, 2), 5);
}

TEST(LocalCluster, TellsPeersTheRoutersAddress) {
  const supervisor::Addresses known = {{"router", "127.0.0.1:4000"}};
  EXPECT_THAT(WorkerArguments(Options(), Rank(1), 1, 2, known),
              Contains("worker.router_address=127.0.0.1:4000"));
  EXPECT_THAT(WorkerArguments(Options(), Rank(1), 1, 2, known), Contains("worker.id=worker-1"));
  EXPECT_THAT(GatewayArguments(Options(), known),
              Contains("gateway.router_address=127.0.0.1:4000"));
  EXPECT_THAT(RouterArguments(Options(), {}),
              ElementsAre("router", "--config", "c.yaml", "--set", "router.listen=127.0.0.1:7401",
                          "--ready-fd", "3"));
}

TEST(LocalCluster, KeepsTheAddressOfAMemberThatIsStartedAgain) {
  const supervisor::Addresses known = {
      {"router", "r:1"}, {"worker 0", "127.0.0.1:5000"}, {"gateway", "127.0.0.1:6000"}};
  EXPECT_THAT(WorkerArguments(Options(), Rank(0), 0, 1, known),
              Contains("worker.listen=127.0.0.1:5000"));
  EXPECT_THAT(GatewayArguments(Options(), known), Contains("gateway.listen=127.0.0.1:6000"));
}

TEST(LocalCluster, GivesWorkersPortsOfTheirOwn) {
  LocalClusterOptions options = Options();
  options.config.worker.listen = "127.0.0.1:7402";
  EXPECT_THAT(WorkerArguments(options, Rank(1), 1, 1, {}),
              Contains("worker.listen=127.0.0.1:7403"));
  options.config.worker.listen = "127.0.0.1:0";
  EXPECT_THAT(WorkerArguments(options, Rank(1), 1, 1, {}), Contains("worker.listen=127.0.0.1:0"));
}

// The same at each start, also after other members have come up.
TEST(LocalCluster, TellsARankItsPlace) {
  LocalClusterOptions options = Options();
  options.config.topology = config::ParseTopology("prefill=1x1,decode=2x3").value();
  options.config.worker.listen = "127.0.0.1:7402";
  const LocalRank rank = LocalRanks(options.config).at(5);
  const supervisor::Addresses known = {{"router", "r:1"}, {rank.member, "127.0.0.1:7407"}};
  for (const supervisor::Addresses& addresses : {supervisor::Addresses{}, known}) {
    const std::vector<std::string> arguments = WorkerArguments(options, rank, 5, 1, addresses);
    for (const char* setting :
         {"worker.id=decode-0-s1e1", "worker.role=decode", "worker.group.name=decode-0",
          "worker.group.stages=2", "worker.group.expert_ranks=3", "worker.group.stage=1",
          "worker.group.expert_rank=1", "worker.listen=127.0.0.1:7407"}) {
      EXPECT_THAT(arguments, Contains(setting));
    }
  }
  EXPECT_THAT(WorkerArguments(options, LocalRanks(options.config).at(0), 0, 1, {}),
              Contains("worker.group.name="));
}

TEST(LocalCluster, APrivateClusterTakesFreePortsAndIsQuiet) {
  LocalClusterOptions options = Options();
  options.is_private = true;
  EXPECT_THAT(GatewayArguments(options, {}), Contains("gateway.listen=127.0.0.1:0"));
  EXPECT_THAT(RouterArguments(options, {}), Contains("router.listen=127.0.0.1:0"));
  EXPECT_THAT(RouterArguments(options, {}), Contains("log.level=error"));
  EXPECT_THAT(RouterArguments(Options(), {}), Not(Contains("log.level=error")));
}

}  // namespace
}  // namespace tessera::cli
