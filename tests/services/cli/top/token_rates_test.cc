#include "services/cli/top/token_rates.h"

#include "gtest/gtest.h"

namespace tessera::cli {
namespace {

v1::Cluster Counters(uint64_t prompt, uint64_t generated, int64_t age_ms) {
  v1::Cluster cluster;
  v1::ClusterWorker* worker = cluster.add_workers();
  worker->set_worker_id("w");
  worker->set_heartbeat_age_ms(age_ms);
  worker->mutable_load()->set_prompt_tokens(prompt);
  worker->mutable_load()->set_generated_tokens(generated);
  return cluster;
}

const absl::Time kStart = absl::FromUnixSeconds(1'000'000);

TEST(TokenRateMeter, DividesByTheTimeBetweenHeartbeats) {
  TokenRateMeter meter;
  EXPECT_TRUE(meter.Observe(kStart, Counters(100, 10, 500)).empty());
  // Polled one second later, but the heartbeats are 1.25 s apart.
  const TokenRates rates = meter.Observe(kStart + absl::Seconds(1), Counters(350, 20, 250));
  ASSERT_EQ(rates.count("w"), 1u);
  EXPECT_DOUBLE_EQ(rates.at("w").prompt, 200);
  EXPECT_DOUBLE_EQ(rates.at("w").generated, 8);
}

TEST(TokenRateMeter, KeepsTheRateUntilTheNextHeartbeat) {
  TokenRateMeter meter;
  meter.Observe(kStart, Counters(0, 0, 0));
  meter.Observe(kStart + absl::Seconds(1), Counters(0, 50, 0));
  const TokenRates same = meter.Observe(kStart + absl::Milliseconds(1503), Counters(0, 50, 500));
  EXPECT_DOUBLE_EQ(same.at("w").generated, 50);
  const TokenRates next = meter.Observe(kStart + absl::Seconds(2), Counters(0, 60, 0));
  EXPECT_DOUBLE_EQ(next.at("w").generated, 10);
}

TEST(TokenRateMeter, KnowsNoRateAcrossARestart) {
  TokenRateMeter meter;
  meter.Observe(kStart, Counters(500, 500, 0));
  EXPECT_TRUE(meter.Observe(kStart + absl::Seconds(1), Counters(3, 4, 0)).empty());
  EXPECT_DOUBLE_EQ(meter.Observe(kStart + absl::Seconds(2), Counters(3, 9, 0)).at("w").generated,
                   5);
}

TEST(TokenRateMeter, ForgetsARankThatHasGone) {
  TokenRateMeter meter;
  meter.Observe(kStart, Counters(0, 0, 0));
  EXPECT_TRUE(meter.Observe(kStart + absl::Seconds(1), v1::Cluster()).empty());
  EXPECT_TRUE(meter.Observe(kStart + absl::Seconds(2), Counters(9, 9, 0)).empty());
}

}  // namespace
}  // namespace tessera::cli
