// The engine's counters as metrics.
#ifndef TESSERA_WORKER_SERVICE_ENGINE_METRICS_H_
#define TESSERA_WORKER_SERVICE_ENGINE_METRICS_H_

#include <cstdint>

#include "services/telemetry/metrics.h"
#include "worker/engine/engine.h"

namespace tessera::worker {

// Not thread safe: fed by the engine's thread (EngineOptions::on_step). metrics outlives it.
class EngineMetrics {
 public:
  explicit EngineMetrics(telemetry::Metrics& metrics);
  void Update(const engine::EngineSnapshot& snapshot);

 private:
  telemetry::Counter prompt_tokens_;
  telemetry::Counter generation_tokens_;
  telemetry::Counter prefix_cache_queries_;
  telemetry::Counter prefix_cache_hits_;
  telemetry::Counter embedding_cache_queries_;
  telemetry::Counter embedding_cache_hits_;
  telemetry::Counter preemptions_;
  telemetry::Counter steps_;
  telemetry::Gauge running_;
  telemetry::Gauge waiting_;
  telemetry::Gauge kv_usage_;
  telemetry::Histogram step_seconds_;
  uint64_t steps_seen_ = 0;
};

}  // namespace tessera::worker

#endif  // TESSERA_WORKER_SERVICE_ENGINE_METRICS_H_
