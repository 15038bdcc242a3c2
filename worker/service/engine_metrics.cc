#include "worker/service/engine_metrics.h"

namespace tessera::worker {

using telemetry::CounterId;
using telemetry::GaugeId;

EngineMetrics::EngineMetrics(telemetry::Metrics& metrics)
    : prompt_tokens_(metrics.Get(CounterId::kPromptTokens)),
      generation_tokens_(metrics.Get(CounterId::kGenerationTokens)),
      prefix_cache_queries_(metrics.Get(CounterId::kPrefixCacheQueries)),
      prefix_cache_hits_(metrics.Get(CounterId::kPrefixCacheHits)),
      embedding_cache_queries_(metrics.Get(CounterId::kEmbeddingCacheQueries)),
      embedding_cache_hits_(metrics.Get(CounterId::kEmbeddingCacheHits)),
      preemptions_(metrics.Get(CounterId::kPreemptions)),
      steps_(metrics.Get(CounterId::kSteps)),
      leases_granted_(metrics.Get(CounterId::kKvLeases, "granted")),
      leases_adopted_(metrics.Get(CounterId::kKvLeases, "adopted")),
      leases_released_(metrics.Get(CounterId::kKvLeases, "released")),
      leases_reclaimed_(metrics.Get(CounterId::kKvLeases, "reclaimed")),
      group_epochs_(metrics.Get(CounterId::kGroupEpochs)),
      group_broken_steps_(metrics.Get(CounterId::kGroupBrokenSteps)),
      running_(metrics.Get(GaugeId::kRequestsRunning)),
      waiting_(metrics.Get(GaugeId::kRequestsWaiting)),
      kv_usage_(metrics.Get(GaugeId::kKvCacheUsage)),
      step_seconds_(metrics.Get(telemetry::HistogramId::kStep)) {}

void EngineMetrics::Update(const engine::EngineSnapshot& snapshot, const GroupCounts& group) {
  prompt_tokens_.AdvanceTo(static_cast<double>(snapshot.prompt_tokens));
  generation_tokens_.AdvanceTo(static_cast<double>(snapshot.generated_tokens));
  prefix_cache_queries_.AdvanceTo(static_cast<double>(snapshot.prefix_cache_queried_tokens));
  prefix_cache_hits_.AdvanceTo(static_cast<double>(snapshot.prefix_cache_hit_tokens));
  embedding_cache_queries_.AdvanceTo(static_cast<double>(snapshot.embedding_cache_queries));
  embedding_cache_hits_.AdvanceTo(static_cast<double>(snapshot.embedding_cache_hits));
  preemptions_.AdvanceTo(static_cast<double>(snapshot.preemptions));
  steps_.AdvanceTo(static_cast<double>(snapshot.steps));
  leases_granted_.AdvanceTo(static_cast<double>(snapshot.kv_leases.granted));
  leases_adopted_.AdvanceTo(static_cast<double>(snapshot.kv_leases.adopted));
  leases_released_.AdvanceTo(static_cast<double>(snapshot.kv_leases.released));
  leases_reclaimed_.AdvanceTo(static_cast<double>(snapshot.kv_leases.reclaimed));
  group_epochs_.AdvanceTo(static_cast<double>(group.epochs));
  group_broken_steps_.AdvanceTo(static_cast<double>(group.broken_steps));
  running_.Set(static_cast<double>(snapshot.running_requests));
  waiting_.Set(static_cast<double>(snapshot.queued_requests));
  kv_usage_.Set(static_cast<double>(snapshot.kv_blocks_used) /
                static_cast<double>(snapshot.kv_blocks_total));
  if (snapshot.steps > steps_seen_) {
    step_seconds_.Observe(absl::ToDoubleSeconds(snapshot.last_step_duration));
    steps_seen_ = snapshot.steps;
  }
}

}  // namespace tessera::worker
