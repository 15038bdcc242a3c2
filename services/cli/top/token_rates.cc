#include "services/cli/top/token_rates.h"

#include <utility>

namespace tessera::cli {
namespace {

// The time of a heartbeat is known up to a call's duration; what lies closer is the same one.
constexpr absl::Duration kSameHeartbeat = absl::Milliseconds(20);

double PerSecond(uint64_t now, uint64_t before, absl::Duration time) {
  return static_cast<double>(now - before) / absl::ToDoubleSeconds(time);
}

}  // namespace

TokenRates TokenRateMeter::Observe(absl::Time time, const v1::Cluster& cluster) {
  std::map<std::string, Last> ranks;
  TokenRates rates;
  for (const v1::ClusterWorker& worker : cluster.workers()) {
    const v1::WorkerLoad& load = worker.load();
    Last now = {time - absl::Milliseconds(worker.heartbeat_age_ms()), load.prompt_tokens(),
                load.generated_tokens(), std::nullopt};
    if (const auto found = ranks_.find(worker.worker_id()); found != ranks_.end()) {
      const Last& before = found->second;
      const absl::Duration passed = now.heartbeat - before.heartbeat;
      if (now.prompt_tokens < before.prompt_tokens ||
          now.generated_tokens < before.generated_tokens) {
        now.rate.reset();
      } else if (passed > kSameHeartbeat) {
        now.rate = {PerSecond(now.prompt_tokens, before.prompt_tokens, passed),
                    PerSecond(now.generated_tokens, before.generated_tokens, passed)};
      } else {
        now = before;
      }
    }
    if (now.rate.has_value()) rates[worker.worker_id()] = *now.rate;
    ranks[worker.worker_id()] = now;
  }
  ranks_ = std::move(ranks);
  return rates;
}

}  // namespace tessera::cli
