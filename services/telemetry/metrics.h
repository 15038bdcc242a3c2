// Counters, gauges and histograms of one process, and the HTTP listener that Prometheus scrapes.
// metrics_table.h lists them all.
//
//   telemetry::Metrics metrics(telemetry::Component::kRouter);
//   telemetry::Counter placed = metrics.Get(telemetry::CounterId::kPlacements, "ok");
//   placed.Add();
#ifndef TESSERA_SERVICES_TELEMETRY_METRICS_H_
#define TESSERA_SERVICES_TELEMETRY_METRICS_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/telemetry/metrics_table.h"

namespace tessera::telemetry {

// Handles are cheap to copy, thread safe, and valid as long as their Metrics. A default-made one
// does nothing.
class Counter {
 public:
  Counter() = default;
  void Add(double amount = 1) const;  // amount at least 0
  // Adds what is missing to a total that is counted elsewhere. Only one thread may call it on a
  // counter.
  void AdvanceTo(double total) const;

 private:
  friend class Metrics;
  explicit Counter(void* counter) : counter_(counter) {}
  void* counter_ = nullptr;  // prometheus::Counter
};

class Gauge {
 public:
  Gauge() = default;
  void Set(double value) const;
  void Add(double amount) const;  // may be negative
  double Value() const;           // 0 for a default-made one

 private:
  friend class Metrics;
  explicit Gauge(void* gauge) : gauge_(gauge) {}
  void* gauge_ = nullptr;  // prometheus::Gauge
};

class Histogram {
 public:
  Histogram() = default;
  void Observe(double value) const;  // seconds

 private:
  friend class Metrics;
  explicit Histogram(void* histogram) : histogram_(histogram) {}
  void* histogram_ = nullptr;  // prometheus::Histogram
};

// One per process. Thread safe.
class Metrics {
 public:
  // Registers the component's rows and tessera_build_info.
  explicit Metrics(Component component);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // The row belongs to the component. label_value: one of the row's, anything else is "other";
  // empty for rows without a label.
  Counter Get(CounterId id, absl::string_view label_value = "");
  Gauge Get(GaugeId id, absl::string_view label_value = "");
  Histogram Get(HistogramId id);

  // Serves GET /metrics on host:port (port 0: any free one) and returns the address as bound. At
  // most once. UNAVAILABLE: cannot listen there.
  absl::StatusOr<std::string> Listen(const std::string& address);

  // What GET /metrics answers.
  std::string Text() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tessera::telemetry

#endif  // TESSERA_SERVICES_TELEMETRY_METRICS_H_
