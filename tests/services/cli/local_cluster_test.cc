#include "services/cli/local_cluster.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

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

TEST(LocalCluster, SharesProcessorsAmongWorkers) {
  config::ClusterConfig config;
  EXPECT_EQ(WorkerThreads(config, 8), 8);
  config.num_workers = 3;
  EXPECT_EQ(WorkerThreads(config, 8), 2);
  EXPECT_EQ(WorkerThreads(config, 2), 1);
  config.worker.threads = 5;
  EXPECT_EQ(WorkerThreads(config, 2), 5);
}

TEST(LocalCluster, TellsPeersTheRoutersAddress) {
  const supervisor::Addresses known = {{"router", "127.0.0.1:4000"}};
  EXPECT_THAT(WorkerArguments(Options(), 1, 2, known),
              Contains("worker.router_address=127.0.0.1:4000"));
  EXPECT_THAT(WorkerArguments(Options(), 1, 2, known), Contains("worker.id=worker-1"));
  EXPECT_THAT(GatewayArguments(Options(), known),
              Contains("gateway.router_address=127.0.0.1:4000"));
  EXPECT_THAT(RouterArguments(Options(), {}),
              ElementsAre("router", "--config", "c.yaml", "--set", "router.listen=127.0.0.1:7401",
                          "--ready-fd", "3"));
}

TEST(LocalCluster, KeepsTheAddressOfAMemberThatIsStartedAgain) {
  const supervisor::Addresses known = {
      {"router", "r:1"}, {"worker 0", "127.0.0.1:5000"}, {"gateway", "127.0.0.1:6000"}};
  EXPECT_THAT(WorkerArguments(Options(), 0, 1, known), Contains("worker.listen=127.0.0.1:5000"));
  EXPECT_THAT(GatewayArguments(Options(), known), Contains("gateway.listen=127.0.0.1:6000"));
}

TEST(LocalCluster, GivesWorkersPortsOfTheirOwn) {
  LocalClusterOptions options = Options();
  options.config.worker.listen = "127.0.0.1:7402";
  EXPECT_THAT(WorkerArguments(options, 1, 1, {}), Contains("worker.listen=127.0.0.1:7403"));
  options.config.worker.listen = "127.0.0.1:0";
  EXPECT_THAT(WorkerArguments(options, 1, 1, {}), Contains("worker.listen=127.0.0.1:0"));
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
