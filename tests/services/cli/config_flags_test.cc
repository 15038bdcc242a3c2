#include "services/cli/config_flags.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/config/topology.h"

namespace tessera::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

TEST(ApplyOverride, SetsEveryKindOfKey) {
  config::ClusterConfig config;
  ASSERT_TRUE(ApplyOverride("model.name", "x", &config).ok());
  ASSERT_TRUE(ApplyOverride("workers", "3", &config).ok());
  ASSERT_TRUE(ApplyOverride("worker.kv_cache_bytes", "2GiB", &config).ok());
  ASSERT_TRUE(ApplyOverride("worker.prefix_caching", "false", &config).ok());
  ASSERT_TRUE(ApplyOverride("gateway.drain_timeout_ms", "1500", &config).ok());
  EXPECT_EQ(config.model.name, "x");
  EXPECT_EQ(config.num_workers, 3);
  EXPECT_EQ(config.worker.kv_cache_bytes, int64_t{2} << 30);
  EXPECT_FALSE(config.worker.prefix_caching);
  EXPECT_EQ(config.gateway.drain_timeout, absl::Milliseconds(1500));
}

TEST(ApplyOverride, NamesTheKeyAndWhatIsWrong) {
  config::ClusterConfig config;
  EXPECT_THAT(Message(ApplyOverride("worker.thread", "2", &config)),
              HasSubstr("there is no key \"worker.thread\""));
  EXPECT_THAT(Message(ApplyOverride("worker.threads", "two", &config)),
              HasSubstr("worker.threads: \"two\" is not an integer"));
  EXPECT_THAT(Message(ApplyOverride("worker.prefix_caching", "maybe", &config)),
              HasSubstr("not true or false"));
  EXPECT_THAT(Message(ApplyOverride("topology", "2y2", &config)),
              HasSubstr("topology: \"2y2\": expected \"x\""));
  EXPECT_THAT(Message(ApplyOverride("group.name", "g", &config)), HasSubstr("there is no key"));
}

class ConfigFlagsTest : public ::testing::Test {
 protected:
  absl::StatusOr<config::ClusterConfig> Read(ConfigUse use,
                                             const std::vector<std::string>& arguments) {
    Flags flags("test", "A test.");
    ConfigFlags config_flags(flags, use);
    exit_code_ = flags.Parse(arguments);
    if (exit_code_.has_value()) {
      return absl::UnknownError("parsing ended");
    }
    arguments_ = config_flags.AsArguments();
    return config_flags.Read();
  }

  std::optional<int> exit_code_;
  std::vector<std::string> arguments_;
};

TEST_F(ConfigFlagsTest, FlagsStandAboveTheFile) {
  const std::filesystem::path file = std::filesystem::path(testing::TempDir()) / "cluster.yaml";
  std::ofstream(file) << "workers: 2\nworker:\n  threads: 5\n";
  const auto config = Read(
      ConfigUse::kServe, {"--config", file.string(), "--workers", "4", "--model", "/models/tiny/"});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->num_workers, 4);
  EXPECT_EQ(config->worker.threads, 5);
  EXPECT_EQ(config->model.name, "tiny");
  EXPECT_THAT(arguments_, ElementsAre("--config", file.string(), "--set",
                                      "model.path=/models/tiny/", "--set", "workers=4"));
}

TEST_F(ConfigFlagsTest, TheChildReadsWhatTheParentRead) {
  const auto parent =
      Read(ConfigUse::kServe, {"--model", "/m", "--compute", "f32", "--listen", "127.0.0.1:0",
                               "--set", "worker.kv_block_size_tokens=32"});
  ASSERT_TRUE(parent.ok()) << parent.status();
  const auto child = Read(ConfigUse::kWorker, arguments_);
  ASSERT_TRUE(child.ok()) << child.status();
  EXPECT_EQ(child->worker.compute, "f32");
  EXPECT_EQ(child->worker.kv_block_size_tokens, 32);
  EXPECT_EQ(child->gateway.listen, "127.0.0.1:0");
}

TEST_F(ConfigFlagsTest, AWorkerIsToldItsPlaceInAnyOrder) {
  const auto config =
      Read(ConfigUse::kWorker,
           {"--model", "/m", "--stage", "1", "--expert-rank", "2", "--stages", "2",
            "--expert-ranks", "3", "--group", "g", "--role", "decode", "--transport", "gloo"});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->worker.role, "decode");
  EXPECT_EQ(config->worker.transport, "gloo");
  EXPECT_EQ(config->worker.group.name, "g");
  EXPECT_EQ(config->worker.group.stages, 2);
  EXPECT_EQ(config->worker.group.expert_ranks, 3);
  EXPECT_EQ(config->worker.group.stage, 1);
  EXPECT_EQ(config->worker.group.expert_rank, 2);
  const auto outside = Read(ConfigUse::kWorker, {"--model", "/m", "--stage", "1"});
  EXPECT_THAT(Message(outside.status()), HasSubstr("worker.group.stage: 1 is not below"));
}

TEST_F(ConfigFlagsTest, WorkersOrATopology) {
  const auto config =
      Read(ConfigUse::kServe, {"--model", "/m", "--topology", "prefill=1x2,decode=1x2"});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config::FormatTopology(config->topology), "prefill=1x2,decode=1x2");
  const auto child = Read(ConfigUse::kWorker, arguments_);
  ASSERT_TRUE(child.ok()) << child.status();
  for (const char* workers : {"1", "2"}) {
    const auto both =
        Read(ConfigUse::kServe, {"--model", "/m", "--topology", "1x2", "--workers", workers});
    EXPECT_THAT(Message(both.status()), HasSubstr("workers, topology: both are given"));
  }
}

TEST_F(ConfigFlagsTest, WrongUseEndsWithCodeTwo) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"--no-such-flag"},
                                                    {"--workers", "0"},
                                                    {"--topology", "2y2"},
                                                    {"--topology", "prefill=1x1"},
                                                    {"--compute", "fp8"},
                                                    {"--set", "novalue"},
                                                    {"--set", "a.b=1"},
                                                    {"--threads", "many"},
                                                    {"stray"}}) {
    Read(ConfigUse::kServe, arguments).IgnoreError();
    EXPECT_EQ(exit_code_, 2) << arguments.front();
  }
  Read(ConfigUse::kServe, {"--help"}).IgnoreError();
  EXPECT_EQ(exit_code_, 0);
}

TEST_F(ConfigFlagsTest, TheEnvironmentNamesTheModel) {
  setenv("TESSERA_MODEL", "/models/from-environment", 1);
  const auto config = Read(ConfigUse::kWorker, {});
  unsetenv("TESSERA_MODEL");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->model.path, "/models/from-environment");
  EXPECT_EQ(config->model.name, "from-environment");
}

}  // namespace
}  // namespace tessera::cli
