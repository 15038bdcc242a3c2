// The engine's counters as metrics.
#ifndef TESSERA_WORKER_SERVICE_ENGINE_METRICS_H_
#define TESSERA_WORKER_SERVICE_ENGINE_METRICS_H_

#include <cstdint>

#include "services/telemetry/metrics.h"
#include "worker/engine/engine.h"

namespace tessera::worker {

// What the group of a rank that leads has been through.
struct GroupCounts {
  uint64_t epochs = 0;        // entered, since the start
  uint64_t broken_steps = 0;  // since the start
};

// Not thread safe: fed by the engine's thread (EngineOptions::on_step). metrics outlives it.
class EngineMetrics {
 public:
  explicit EngineMetrics(telemetry::Metrics& metrics);
  void Update(const engine::EngineSnapshot& snapshot, const GroupCounts& group = {});

 private:
  telemetry::Counter prompt_tokens_;
  telemetry::Counter generation_tokens_;
  telemetry::Counter prefix_cache_queries_;
  telemetry::Counter prefix_cache_hits_;
  telemetry::Counter embedding_cache_queries_;
  telemetry::Counter embedding_cache_hits_;
  telemetry::Counter preemptions_;
  telemetry::Counter steps_;
  telemetry::Counter leases_granted_;
  telemetry::Counter leases_adopted_;
  telemetry::Counter leases_released_;
  telemetry::Counter leases_reclaimed_;
  telemetry::Counter group_epochs_;
  telemetry::Counter group_broken_steps_;
  telemetry::Gauge running_;
  telemetry::Gauge waiting_;
  telemetry::Gauge kv_usage_;
  telemetry::Histogram step_seconds_;
  uint64_t steps_seen_ = 0;
};

}  // namespace tessera::worker

#endif  // TESSERA_WORKER_SERVICE_ENGINE_METRICS_H_
