#include "worker/service/engine_metrics.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tessera::worker {
namespace {

using ::testing::HasSubstr;

TEST(EngineMetrics, ShowTheLatestSnapshot) {
  telemetry::Metrics metrics(telemetry::Component::kWorker);
  EngineMetrics engine_metrics(metrics);
  engine::EngineSnapshot snapshot;
  snapshot.running_requests = 3;
  snapshot.queued_requests = 2;
  snapshot.kv_blocks_total = 8;
  snapshot.kv_blocks_used = 2;
  snapshot.steps = 1;
  snapshot.prompt_tokens = 40;
  snapshot.generated_tokens = 5;
  snapshot.last_step_duration = absl::Milliseconds(20);
  snapshot.kv_leases = {7, 4, 2, 1};
  engine_metrics.Update(snapshot, {3, 2});
  snapshot.steps = 2;
  snapshot.generated_tokens = 8;
  engine_metrics.Update(snapshot, {3, 2});
  engine_metrics.Update(snapshot, {3, 2});  // a step without rows: no duration of its own
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("tessera_num_requests_running 3"));
  EXPECT_THAT(text, HasSubstr("tessera_num_requests_waiting 2"));
  EXPECT_THAT(text, HasSubstr("tessera_kv_cache_usage_ratio 0.25"));
  EXPECT_THAT(text, HasSubstr("tessera_prompt_tokens_total 40"));
  EXPECT_THAT(text, HasSubstr("tessera_generation_tokens_total 8"));
  EXPECT_THAT(text, HasSubstr("tessera_step_seconds_count 2"));
  EXPECT_THAT(text, HasSubstr("tessera_kv_leases_total{event=\"granted\"} 7"));
  EXPECT_THAT(text, HasSubstr("tessera_kv_leases_total{event=\"reclaimed\"} 1"));
  EXPECT_THAT(text, HasSubstr("tessera_group_epochs_total 3"));
  EXPECT_THAT(text, HasSubstr("tessera_group_broken_steps_total 2"));
}

}  // namespace
}  // namespace tessera::worker
