#include "services/telemetry/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <exception>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "services/base/check.h"

namespace tessera::telemetry {
namespace {

const char* ComponentName(Component component) {
  switch (component) {
    case Component::kGateway:
      return "gateway";
    case Component::kRouter:
      return "router";
    case Component::kWorker:
      return "worker";
  }
  return "";
}

std::map<std::string, std::string> Labels(const MetricRow& row, absl::string_view value) {
  TESSERA_CHECK((row.label == nullptr) == value.empty())
      << row.name << " label \"" << value << "\"";
  if (row.label == nullptr) return {};
  for (const char* known : row.label_values) {
    if (value == known) return {{row.label, known}};
  }
  return {{row.label, "other"}};
}

}  // namespace

void Counter::Add(double amount) const {
  if (counter_ != nullptr) static_cast<prometheus::Counter*>(counter_)->Increment(amount);
}
void Counter::AdvanceTo(double total) const {
  if (counter_ == nullptr) return;
  auto* counter = static_cast<prometheus::Counter*>(counter_);
  if (const double missing = total - counter->Value(); missing > 0) counter->Increment(missing);
}
void Gauge::Set(double value) const {
  if (gauge_ != nullptr) static_cast<prometheus::Gauge*>(gauge_)->Set(value);
}
void Gauge::Add(double amount) const {
  if (gauge_ != nullptr) static_cast<prometheus::Gauge*>(gauge_)->Increment(amount);
}
double Gauge::Value() const {
  return gauge_ == nullptr ? 0 : static_cast<prometheus::Gauge*>(gauge_)->Value();
}
void Histogram::Observe(double value) const {
  if (histogram_ != nullptr) static_cast<prometheus::Histogram*>(histogram_)->Observe(value);
}

struct Metrics::State {
  Component component;
  std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();
  // By row; only the component's own rows are here.
  std::map<const MetricRow*, prometheus::Family<prometheus::Counter>*> counters;
  std::map<const MetricRow*, prometheus::Family<prometheus::Gauge>*> gauges;
  std::map<const MetricRow*, prometheus::Family<prometheus::Histogram>*> histograms;
  std::unique_ptr<prometheus::Exposer> exposer;

  bool Has(const MetricRow& row) const {
    return (row.components & static_cast<int>(component)) != 0;
  }
};

Metrics::Metrics(Component component) : state_(new State{component}) {
  prometheus::Registry& registry = *state_->registry;
  for (const MetricRow& row : CounterRows()) {
    if (!state_->Has(row)) continue;
    state_->counters[&row] =
        &prometheus::BuildCounter().Name(row.name).Help(row.help).Register(registry);
  }
  for (const MetricRow& row : GaugeRows()) {
    if (!state_->Has(row)) continue;
    state_->gauges[&row] =
        &prometheus::BuildGauge().Name(row.name).Help(row.help).Register(registry);
  }
  for (const MetricRow& row : HistogramRows()) {
    if (!state_->Has(row)) continue;
    state_->histograms[&row] =
        &prometheus::BuildHistogram().Name(row.name).Help(row.help).Register(registry);
  }
  prometheus::BuildGauge()
      .Name("tessera_build_info")
      .Help("Always 1; the labels say which build this is.")
      .Register(registry)
      .Add({{"component", ComponentName(component)}, {"version", TESSERA_VERSION}})
      .Set(1);
}

Metrics::~Metrics() = default;

Counter Metrics::Get(CounterId id, absl::string_view label_value) {
  const MetricRow& row = RowOf(id);
  TESSERA_CHECK(state_->Has(row)) << row.name << " is not a metric of the "
                                  << ComponentName(state_->component);
  return Counter(&state_->counters[&row]->Add(Labels(row, label_value)));
}

Gauge Metrics::Get(GaugeId id, absl::string_view label_value) {
  const MetricRow& row = RowOf(id);
  TESSERA_CHECK(state_->Has(row)) << row.name << " is not a metric of the "
                                  << ComponentName(state_->component);
  return Gauge(&state_->gauges[&row]->Add(Labels(row, label_value)));
}

Histogram Metrics::Get(HistogramId id) {
  const MetricRow& row = RowOf(id);
  TESSERA_CHECK(state_->Has(row)) << row.name << " is not a metric of the "
                                  << ComponentName(state_->component);
  return Histogram(&state_->histograms[&row]->Add({}, row.buckets));
}

absl::StatusOr<std::string> Metrics::Listen(const std::string& address) {
  try {
    state_->exposer = std::make_unique<prometheus::Exposer>(address, /*num_threads=*/1);
    state_->exposer->RegisterCollectable(state_->registry);
    const std::vector<int> ports = state_->exposer->GetListeningPorts();
    if (ports.empty())
      return absl::UnavailableError(absl::StrCat("cannot serve metrics on ", address));
    return absl::StrCat(address.substr(0, address.rfind(':')), ":", ports.front());
  } catch (const std::exception&) {
    return absl::UnavailableError(
        absl::StrCat("cannot serve metrics on ", address, ": is the address in use?"));
  }
}

std::string Metrics::Text() const {
  return prometheus::TextSerializer().Serialize(state_->registry->Collect());
}

}  // namespace tessera::telemetry
