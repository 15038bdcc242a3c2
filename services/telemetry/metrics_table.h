// Every metric of Tessera: name, kind, label, help, and which process feeds it. Names follow vLLM's
// where the meaning is the same.
#ifndef TESSERA_SERVICES_TELEMETRY_METRICS_TABLE_H_
#define TESSERA_SERVICES_TELEMETRY_METRICS_TABLE_H_

#include <vector>

#include "absl/types/span.h"

namespace tessera::telemetry {

enum class CounterId {
  kRequests,        // by code
  kRequestSuccess,  // by finished reason
  kPromptTokens,
  kGenerationTokens,
  kImages,
  kImageTiles,
  kFailovers,
  kHandoffBytes,
  kPlacements,  // by result
  kExpiredLeases,
  kPrefixCacheQueries,
  kPrefixCacheHits,
  kEmbeddingCacheQueries,
  kEmbeddingCacheHits,
  kKvLeases,  // by event
  kGroupEpochs,
  kGroupBrokenSteps,
  kPreemptions,
  kSteps,
  kRouterGroupChanges,
};

enum class GaugeId {
  kRequestsRunning,
  kRequestsWaiting,
  kRouterWorkers,  // by state
  kGroupEpoch,
  kKvCacheUsage,
  kRouterGroups,        // by state
  kRouterGroupMembers,  // by state
};

enum class HistogramId {
  kTimeToFirstToken,
  kInterTokenLatency,
  kEndToEndLatency,
  kPreprocessing,
  kPrefill,
  kHandoffTail,
  kStep,
};

enum class Component { kGateway = 1, kRouter = 2, kWorker = 4 };

// A row of the table. One label at most, with a closed list of values: other values are counted as
// "other", so that no input can grow the number of series.
struct MetricRow {
  const char* name;
  const char* help;
  int components;  // sum of Component values whose process has it
  const char* label = nullptr;
  std::vector<const char*> label_values;
  std::vector<double> buckets;  // histograms: upper bounds in seconds
};

const MetricRow& RowOf(CounterId id);
const MetricRow& RowOf(GaugeId id);
const MetricRow& RowOf(HistogramId id);
absl::Span<const MetricRow> CounterRows();
absl::Span<const MetricRow> GaugeRows();
absl::Span<const MetricRow> HistogramRows();

}  // namespace tessera::telemetry

#endif  // TESSERA_SERVICES_TELEMETRY_METRICS_TABLE_H_
