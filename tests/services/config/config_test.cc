#include "services/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "services/config/topology.h"

namespace tessera::config {
namespace {

using ::testing::HasSubstr;

std::string ErrorOf(std::string_view yaml) {
  const auto config = ParseClusterConfig(yaml, "c.yaml");
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument) << yaml;
  return std::string(config.status().message());
}

TEST(Config, EmptyTextIsTheDefaults) {
  for (const char* yaml : {"", "# nothing\n", "gateway:\n"}) {
    const auto config = ParseClusterConfig(yaml, "c.yaml");
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(config->gateway.listen, "127.0.0.1:7400");
    EXPECT_EQ(config->num_workers, 1);
  }
  const ClusterConfig defaults;
  EXPECT_TRUE(Validate(defaults).ok());
}

TEST(Config, ReadsEveryKind) {
  const auto config = ParseClusterConfig(R"(
workers: 2
model: {path: /models/x, name: }
gateway:
  listen: "0.0.0.0:0"
  reflection: false
  max_message_bytes: 1MiB
  max_image_bytes: 1000
  drain_timeout_ms: 1500
router: {policy: round_robin}
worker: {compute: f32, kv_cache_bytes: 2 GiB}
)",
                                         "c.yaml");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->num_workers, 2);
  EXPECT_EQ(config->model.path, "/models/x");
  EXPECT_EQ(config->model.name, "");
  EXPECT_EQ(config->gateway.listen, "0.0.0.0:0");
  EXPECT_FALSE(config->gateway.reflection);
  EXPECT_EQ(config->gateway.max_message_bytes, 1 << 20);
  EXPECT_EQ(config->gateway.max_image_bytes, 1000);
  EXPECT_EQ(config->gateway.drain_timeout, absl::Milliseconds(1500));
  EXPECT_EQ(config->router.policy, "round_robin");
  EXPECT_EQ(config->worker.compute, "f32");
  EXPECT_EQ(config->worker.kv_cache_bytes, int64_t{2} << 30);
}

TEST(Config, ErrorsNameFileLineKeyAndRange) {
  EXPECT_EQ(ErrorOf("gateway:\n  max_images: 65\n"),
            "c.yaml:2: gateway.max_images: 65 is not in [0, 64]");
  EXPECT_THAT(ErrorOf("gateway:\n  max_images: many\n"),
              HasSubstr("c.yaml:2: gateway.max_images: \"many\" is not an integer"));
  EXPECT_THAT(ErrorOf("gateway:\n  max_images: 1.5\n"), HasSubstr("not an integer"));
  EXPECT_THAT(ErrorOf("gateway:\n  max_images:\n"), HasSubstr("expected an integer"));
  EXPECT_THAT(ErrorOf("gateway:\n  max_images: [1]\n"), HasSubstr("expected an integer"));
  EXPECT_THAT(ErrorOf("workers: 0\n"), HasSubstr("c.yaml:1: workers: 0 is not in [1, 64]"));
  EXPECT_THAT(ErrorOf("workers: 99999999999999999999\n"), HasSubstr("not an integer in [1, 64]"));
  EXPECT_THAT(ErrorOf("gateway:\n\n  reflection: yes\n"),
              HasSubstr("c.yaml:3: gateway.reflection: \"yes\" is not true or false"));
  EXPECT_THAT(ErrorOf("worker: {kv_cache_bytes: 1 apple}\n"),
              HasSubstr("worker.kv_cache_bytes: \"1 apple\" is no byte size"));
  EXPECT_THAT(
      ErrorOf("router: {policy: best}\n"),
      HasSubstr("router.policy: \"best\" is not one of: least_tokens, round_robin, prefix"));
  EXPECT_THAT(ErrorOf("gateway: {listen: localhost}\n"),
              HasSubstr("gateway.listen: \"localhost\" is not host:port"));
  EXPECT_THAT(ErrorOf("gateway: {listen: \"\"}\n"), HasSubstr("gateway.listen"));
  EXPECT_THAT(ErrorOf("gateway: {listen: \"a:70000\"}\n"), HasSubstr("[0, 65535]"));
  EXPECT_THAT(ErrorOf("gateway: {listen: \"::1:80\"}\n"), HasSubstr("host:port"));
  EXPECT_THAT(ErrorOf("gateway: {router_address: \"a:0\"}\n"), HasSubstr("[1, 65535]"));
  EXPECT_THAT(ErrorOf("gateway: 3\n"), HasSubstr("c.yaml:1: gateway: expected a mapping"));
  EXPECT_THAT(ErrorOf("- a\n"), HasSubstr("expected a mapping"));
}

TEST(Config, UnknownKeysNameTheNearest) {
  EXPECT_EQ(ErrorOf("gateway:\n  max_image: 3\n"),
            "c.yaml:2: gateway.max_image: unknown key; did you mean gateway.max_images?");
  EXPECT_EQ(ErrorOf("\ngatway: {}\n"), "c.yaml:2: gatway: unknown key; did you mean gateway?");
  EXPECT_THAT(ErrorOf("worker: {theads: 3}\n"), HasSubstr("did you mean worker.threads?"));
}

TEST(Config, RefusesRepeatedKeysAndBrokenYaml) {
  EXPECT_THAT(ErrorOf("workers: 1\nworkers: 2\n"),
              HasSubstr("c.yaml:2: workers: the key is given twice"));
  EXPECT_THAT(ErrorOf("gateway: {\n"), HasSubstr("not valid YAML"));
  EXPECT_THAT(ErrorOf("a: b: c\n"), HasSubstr("c.yaml:1: not valid YAML"));
}

TEST(Config, ChecksValuesAgainstEachOther) {
  EXPECT_THAT(ErrorOf("router: {lease_ms: 1000, heartbeat_interval_ms: 400}\n"),
              HasSubstr("c.yaml: router.heartbeat_interval_ms: 400 is more than a third of "
                        "router.lease_ms (1000)"));
  EXPECT_THAT(ErrorOf("gateway: {max_message_bytes: 1MiB, max_image_bytes: 2MiB}\n"),
              HasSubstr("gateway.max_image_bytes"));
  EXPECT_THAT(ErrorOf("worker: {max_step_tokens: 8, max_batch_sequences: 9}\n"),
              HasSubstr("worker.max_step_tokens"));
}

TEST(Config, ValidateCatchesOverrides) {
  ClusterConfig config;
  config.gateway.max_attempts = 11;
  EXPECT_EQ(Validate(config).message(), "gateway.max_attempts: 11 is not in [1, 10]");
  config = {};
  config.worker.role = "encode";
  EXPECT_THAT(std::string(Validate(config).message()), HasSubstr("worker.role"));
}

TEST(Config, ReadsAGroup) {
  const auto config = ParseClusterConfig(R"(
worker:
  role: decode
  transport: gloo
  group: {name: decode-0, stages: 2, expert_ranks: 3, stage: 1, expert_rank: 2}
  step_timeout_ms: 1500
  micro_batches: 4
  kv_lease_ms: 2500
  redundant_experts: 3
router: {policy: prefix, group_form_timeout_ms: 4000, group_settle_ms: 500}
)",
                                         "c.yaml");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->worker.role, "decode");
  EXPECT_EQ(config->worker.transport, "gloo");
  EXPECT_EQ(config->worker.group.name, "decode-0");
  EXPECT_EQ(config->worker.group.stages, 2);
  EXPECT_EQ(config->worker.group.expert_ranks, 3);
  EXPECT_EQ(config->worker.group.stage, 1);
  EXPECT_EQ(config->worker.group.expert_rank, 2);
  EXPECT_EQ(config->worker.step_timeout, absl::Milliseconds(1500));
  EXPECT_EQ(config->worker.micro_batches, 4);
  EXPECT_EQ(config->worker.kv_lease, absl::Milliseconds(2500));
  EXPECT_EQ(config->worker.redundant_experts, 3);
  EXPECT_EQ(config->router.policy, "prefix");
  EXPECT_EQ(config->router.group_form_timeout, absl::Seconds(4));
  EXPECT_EQ(config->router.group_settle, absl::Milliseconds(500));
}

TEST(Config, RefusesAPlaceOutsideItsGroup) {
  EXPECT_EQ(ErrorOf("worker: {group: {name: g, stages: 2, stage: 2}}\n"),
            "c.yaml: worker.group.stage: 2 is not below worker.group.stages (2)");
  EXPECT_EQ(ErrorOf("worker: {group: {name: g, expert_rank: 1}}\n"),
            "c.yaml: worker.group.expert_rank: 1 is not below worker.group.expert_ranks (1)");
  EXPECT_EQ(
      ErrorOf("worker: {group: {expert_ranks: 2}}\n"),
      "c.yaml: worker.group.name: is empty, but a group of 2 ranks needs a name by which they "
      "find each other");
  EXPECT_THAT(
      ErrorOf("worker: {group: {name: g, stages: 9, expert_ranks: 8}}\n"),
      HasSubstr("worker.group.stages: 9 times worker.group.expert_ranks (8) is more than 64"));
  EXPECT_THAT(ErrorOf("worker: {group: {name: " + std::string(65, 'g') + "}}\n"),
              HasSubstr("worker.group.name: 65 bytes are more than 64"));
  EXPECT_THAT(ErrorOf("worker:\n  group:\n    stages: 0\n"),
              HasSubstr("c.yaml:3: worker.group.stages: 0 is not in [1, 64]"));
  EXPECT_THAT(ErrorOf("worker: {group: {expertranks: 2}}\n"),
              HasSubstr("did you mean worker.group.expert_ranks?"));
  EXPECT_THAT(ErrorOf("worker: {micro_batches: 17}\n"), HasSubstr("17 is not in [1, 16]"));
  EXPECT_THAT(ErrorOf("worker: {redundant_experts: 65}\n"), HasSubstr("65 is not in [0, 64]"));
  EXPECT_THAT(ErrorOf("worker: {transport: tcp}\n"),
              HasSubstr("worker.transport: \"tcp\" is not one of: auto, shm, gloo, nccl"));
  EXPECT_TRUE(ParseClusterConfig("worker: {group: {name: alone}}", "c.yaml").ok());
}

TEST(Config, ReadsATopologyAsTextOrList) {
  for (const char* yaml : {"topology: prefill=1x2,decode=2x1*3",
                           "topology: [{role: prefill, expert_ranks: 2}, {role: "
                           "decode, stages: 2, groups: 3}]"}) {
    const auto config = ParseClusterConfig(yaml, "c.yaml");
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(FormatTopology(config->topology), "prefill=1x2,decode=2x1*3");
  }
  for (const char* yaml : {"topology: ''", "topology:", "topology: []"}) {
    const auto config = ParseClusterConfig(yaml, "c.yaml");
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_TRUE(config->topology.empty());
  }
  EXPECT_THAT(ErrorOf("\ntopology: 1y1\n"), HasSubstr("c.yaml:2: topology: \"1y1\": expected"));
  EXPECT_THAT(ErrorOf("topology: {}\n"), HasSubstr("expected a text such as 2x2 or a list"));
  EXPECT_THAT(ErrorOf("topology: [2x2]\n"), HasSubstr("topology[0]: expected a mapping"));
  EXPECT_THAT(ErrorOf("topology:\n- {}\n- {stages: 65}\n"),
              HasSubstr("c.yaml:3: topology[1].stages: 65 is not in [1, 64]"));
  EXPECT_THAT(ErrorOf("topology: [{stage: 2}]\n"), HasSubstr("did you mean topology[0].stages?"));
  EXPECT_THAT(ErrorOf("topology: [{role: prefill}]\n"), HasSubstr("none of role decode"));
}

TEST(Config, TakesWorkersOrATopology) {
  for (const char* workers : {"1", "2"}) {
    EXPECT_EQ(ErrorOf(std::string("topology: 2x2\nworkers: ") + workers),
              "c.yaml: workers, topology: both are given; workers: N is short for N groups of 1x1, "
              "so leave one of them out");
  }
  EXPECT_TRUE(ParseClusterConfig("topology: \"\"\nworkers: 2\n", "c.yaml").ok());
}

TEST(Config, MissingFileIsNotFound) {
  const auto config = ReadClusterConfig("/nonexistent/cluster.yaml");
  EXPECT_EQ(config.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(config.status().message()), HasSubstr("/nonexistent/cluster.yaml"));
  EXPECT_EQ(ReadClusterConfig("/").status().code(), absl::StatusCode::kNotFound);
}

TEST(Config, ExampleFileIsGeneratedLoadableAndEqualsTheDefaults) {
  std::ifstream file(TESSERA_EXAMPLE_CONFIG);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_EQ(text, ExampleYaml())
      << "deploy/config/cluster.example.yaml must be exactly ExampleYaml()";
  const auto config = ReadClusterConfig(TESSERA_EXAMPLE_CONFIG);
  ASSERT_TRUE(config.ok()) << config.status();
  const ClusterConfig defaults;
  EXPECT_EQ(config->gateway.max_message_bytes, defaults.gateway.max_message_bytes);
  EXPECT_EQ(config->gateway.default_deadline, defaults.gateway.default_deadline);
  EXPECT_EQ(config->router.policy, defaults.router.policy);
  EXPECT_EQ(config->worker.kv_cache_bytes, defaults.worker.kv_cache_bytes);
  EXPECT_EQ(config->worker.listen, defaults.worker.listen);
}

// A member that the schema forgot would silently never be read: the number of members is compared
// with the number of keys.
TEST(Config, EveryMemberHasAKey) {
  const std::string text = ExampleYaml();
  const auto lines_with_key = [&](const std::string& section) {
    int count = 0;
    size_t at = text.find("\n" + section + ":\n");
    EXPECT_NE(at, std::string::npos) << section;
    at = text.find('\n', at + 1);
    while (at + 1 < text.size() && text.compare(at + 1, 2, "  ") == 0) {
      ++count;
      at = text.find('\n', at + 1);
    }
    return count;
  };
  {
    auto [a, b] = ModelSettings{};
    EXPECT_EQ(lines_with_key("model"), 2);
  }
  {
    auto [a, b] = LogSettings{};
    EXPECT_EQ(lines_with_key("log"), 2);
  }
  {
    auto [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = GatewaySettings{};
    EXPECT_EQ(lines_with_key("gateway"), 16);
  }
  {
    auto [a, b, c, d, e, f, g] = RouterSettings{};
    EXPECT_EQ(lines_with_key("router"), 7);
  }
  {
    auto [a, b, c, d, e] = GroupSettings{};
    auto [f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, A, B, C, D] =
        WorkerSettings{};
    EXPECT_EQ(lines_with_key("worker"), 25 + 5);  // the group's keys are lines of their own
  }
}

}  // namespace
}  // namespace tessera::config
