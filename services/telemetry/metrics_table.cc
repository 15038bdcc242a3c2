#include "services/telemetry/metrics_table.h"

namespace tessera::telemetry {
namespace {

constexpr int kGateway = static_cast<int>(Component::kGateway);
constexpr int kRouter = static_cast<int>(Component::kRouter);
constexpr int kWorker = static_cast<int>(Component::kWorker);

const std::vector<double>& LatencyBuckets() {
  static const auto& buckets = *new std::vector<double>{
      0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320};
  return buckets;
}

// In the order of the enumerations.
const std::vector<MetricRow>& Counters() {
  static const auto& rows = *new std::vector<MetricRow>{
      {"tessera_requests_total",
       "Calls that ended, by gRPC code.",
       kGateway,
       "code",
       {"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
        "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "INTERNAL", "UNAVAILABLE"}},
      {"tessera_request_success_total",
       "Answers that were completed, by reason of their end.",
       kGateway,
       "finished_reason",
       {"stop", "stop_string", "length"}},
      {"tessera_prompt_tokens_total",
       "Prompt tokens (gateway: of admitted requests; worker: computed).", kGateway + kWorker},
      {"tessera_generation_tokens_total", "Generated tokens.", kGateway + kWorker},
      {"tessera_images_total", "Pictures decoded.", kGateway},
      {"tessera_image_tiles_total", "Tiles cut, global views included.", kGateway},
      {"tessera_failovers_total", "Answers that were moved to another worker after a failure.",
       kGateway},
      {"tessera_gateway_handoff_bytes_total",
       "Bytes of K and V that prefill ranks handed to decode ranks, as they report it.", kGateway},
      {"tessera_router_placements_total",
       "Place calls, by result.",
       kRouter,
       "result",
       {"ok", "no_worker", "full", "invalid"}},
      {"tessera_router_expired_leases_total",
       "Workers that fell silent for longer than their lease.", kRouter},
      {"tessera_prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.",
       kWorker},
      {"tessera_prefix_cache_hits_total", "Prompt tokens whose KV came from the prefix cache.",
       kWorker},
      {"tessera_embedding_cache_queries_total", "Pictures looked up in the embedding cache.",
       kWorker},
      {"tessera_embedding_cache_hits_total", "Pictures whose embeddings came from the cache.",
       kWorker},
      {"tessera_kv_leases_total",
       "Leases of KV blocks for prompts that another rank computes, by what became of them.",
       kWorker,
       "event",
       {"granted", "adopted", "released", "reclaimed"}},
      {"tessera_group_epochs_total", "Epochs of its group that the rank has entered.", kWorker},
      {"tessera_group_broken_steps_total", "Steps that were repeated because the group broke.",
       kWorker},
      {"tessera_num_preemptions_total", "Sequences whose KV was given up for others.", kWorker},
      {"tessera_steps_total", "Steps of the engine's loop.", kWorker},
      {"tessera_router_group_changes_total",
       "Views of groups that were declared: epochs, and that a group cannot stand.", kRouter},
  };
  return rows;
}

const std::vector<MetricRow>& Gauges() {
  static const auto& rows = *new std::vector<MetricRow>{
      {"tessera_num_requests_running",
       "Requests in work (gateway: calls in flight; worker: sequences in the step loop).",
       kGateway + kWorker},
      {"tessera_num_requests_waiting",
       "Requests that wait (gateway: for preprocessing; worker: for the step loop).",
       kGateway + kWorker},
      {"tessera_router_workers",
       "Workers that hold a lease, by state.",
       kRouter,
       "state",
       {"serving", "draining"}},
      {"tessera_group_epoch", "Epoch of its group that the rank stands in; 0: none.", kWorker},
      {"tessera_kv_cache_usage_ratio", "Part of the KV blocks that sequences use, 0 to 1.",
       kWorker},
      {"tessera_router_groups",
       "Groups by state: standing in an epoch, or waiting for ranks.",
       kRouter,
       "state",
       {"standing", "waiting"}},
      {"tessera_router_group_members",
       "Ranks that joined their group, by state: listed in its epoch, or waiting.",
       kRouter,
       "state",
       {"listed", "waiting"}},
  };
  return rows;
}

const std::vector<MetricRow>& Histograms() {
  static const auto& rows = *new std::vector<MetricRow>{
      {"tessera_time_to_first_token_seconds",
       "From the call to an answer's first token.",
       kGateway,
       nullptr,
       {},
       LatencyBuckets()},
      {"tessera_inter_token_latency_seconds",
       "Between two tokens of an answer.",
       kGateway,
       nullptr,
       {},
       LatencyBuckets()},
      {"tessera_e2e_request_latency_seconds",
       "From the call to its end.",
       kGateway,
       nullptr,
       {},
       LatencyBuckets()},
      {"tessera_preprocessing_seconds",
       "Decoding, tiling and tokenizing one request.",
       kGateway,
       nullptr,
       {},
       LatencyBuckets()},
      {"tessera_gateway_prefill_seconds",
       "A prompt on a prefill rank, from the call to the first token, handoff included.",
       kGateway,
       nullptr,
       {},
       LatencyBuckets()},
      {"tessera_gateway_handoff_tail_seconds",
       "From a prompt's last computed row to its arrival at the decode rank.",
       kGateway,
       nullptr,
       {},
       LatencyBuckets()},
      {"tessera_step_seconds",
       "One step of the engine's loop.",
       kWorker,
       nullptr,
       {},
       LatencyBuckets()},
  };
  return rows;
}

}  // namespace

const MetricRow& RowOf(CounterId id) { return Counters()[static_cast<size_t>(id)]; }
const MetricRow& RowOf(GaugeId id) { return Gauges()[static_cast<size_t>(id)]; }
const MetricRow& RowOf(HistogramId id) { return Histograms()[static_cast<size_t>(id)]; }
absl::Span<const MetricRow> CounterRows() { return Counters(); }
absl::Span<const MetricRow> GaugeRows() { return Gauges(); }
absl::Span<const MetricRow> HistogramRows() { return Histograms(); }

}  // namespace tessera::telemetry
