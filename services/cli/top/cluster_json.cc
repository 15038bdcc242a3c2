#include <string>

#include "nlohmann/json.hpp"
#include "services/cli/top/cluster_text.h"

namespace tessera::cli {
namespace {

using Json = nlohmann::ordered_json;

Json RateJson(bool known, double rate) { return known ? Json(rate) : Json(nullptr); }

Json PoolJson(const PoolSummary& pool) {
  const TokenRate rate = pool.rate.value_or(TokenRate());
  return {{"role", pool.role},
          {"groups", pool.groups},
          {"ranks", pool.ranks},
          {"ready_ranks", pool.ready_ranks},
          {"running_requests", pool.running_requests},
          {"queued_requests", pool.queued_requests},
          {"kv_blocks_total", pool.kv_blocks_total},
          {"kv_blocks_used", pool.kv_blocks_used},
          {"kv_blocks_cached", pool.kv_blocks_cached},
          {"kv_leases_reclaimed", pool.kv_leases_reclaimed},
          {"prompt_tokens_per_second", RateJson(pool.rate.has_value(), rate.prompt)},
          {"generated_tokens_per_second", RateJson(pool.rate.has_value(), rate.generated)}};
}

Json RankJson(const v1::ClusterWorker& rank, const TokenRates& rates) {
  const v1::WorkerLoad& load = rank.load();
  const v1::GroupPlace& place = rank.place();
  const auto found = rates.find(rank.worker_id());
  const bool known = found != rates.end();
  const TokenRate rate = known ? found->second : TokenRate();
  return {{"id", rank.worker_id()},
          {"address", rank.address()},
          {"role", RoleName(rank.role())},
          {"group", place.group()},
          {"stages", place.stages()},
          {"expert_ranks", place.expert_ranks()},
          {"stage", place.stage()},
          {"expert_rank", place.expert_rank()},
          {"epoch", place.epoch()},
          {"state", StateName(StateOf(rank))},
          {"heartbeat_age_ms", rank.heartbeat_age_ms()},
          {"model", rank.model_name()},
          {"model_revision", rank.model_revision()},
          {"numerics", rank.numerics()},
          {"running_requests", load.running_requests()},
          {"queued_requests", load.queued_requests()},
          {"max_queued_requests", load.max_queued_requests()},
          {"outstanding_tokens", load.outstanding_tokens()},
          {"kv_blocks_total", load.kv_blocks_total()},
          {"kv_blocks_used", load.kv_blocks_used()},
          {"kv_blocks_cached", load.kv_blocks_cached()},
          {"prompt_tokens", load.prompt_tokens()},
          {"generated_tokens", load.generated_tokens()},
          {"prompt_tokens_per_second", RateJson(known, rate.prompt)},
          {"generated_tokens_per_second", RateJson(known, rate.generated)},
          {"expert_imbalance",
           load.expert_imbalance() > 0 ? Json(load.expert_imbalance()) : Json(nullptr)},
          {"kv_leases_reclaimed", load.kv_leases_reclaimed()}};
}

}  // namespace

std::string ClusterJson(const ClusterFrame& frame) {
  Json object = {{"time", absl::FormatTime(absl::RFC3339_full, frame.time, absl::UTCTimeZone())},
                 {"router", frame.router}};
  if (!frame.status.ok()) {
    object["error"] = frame.status.ToString();
  } else {
    object["epoch"] = frame.cluster.epoch();
    object["pools"] = Json::array();
    for (const PoolSummary& pool : SummarizePools(frame)) {
      object["pools"].push_back(PoolJson(pool));
    }
    object["ranks"] = Json::array();
    for (const v1::ClusterWorker* rank : SortedRanks(frame)) {
      object["ranks"].push_back(RankJson(*rank, frame.rates));
    }
  }
  return object.dump(-1, ' ', true, Json::error_handler_t::replace);
}

}  // namespace tessera::cli
