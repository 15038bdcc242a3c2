#include "services/telemetry/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <set>
#include <string>

namespace tessera::telemetry {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Metrics, CountsSetsAndObserves) {
  Metrics metrics(Component::kGateway);
  const Counter counter = metrics.Get(CounterId::kRequests, "OK");
  counter.Add();
  counter.Add(2);
  metrics.Get(GaugeId::kRequestsRunning).Set(5);
  metrics.Get(GaugeId::kRequestsRunning).Add(-2);
  metrics.Get(HistogramId::kTimeToFirstToken).Observe(0.02);
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("tessera_requests_total{code=\"OK\"} 3"));
  EXPECT_THAT(text, HasSubstr("tessera_num_requests_running 3"));
  EXPECT_THAT(text, HasSubstr("tessera_time_to_first_token_seconds_bucket{le=\"0.025\"} 1"));
  EXPECT_THAT(text, HasSubstr("tessera_build_info{component=\"gateway\",version=\""));
  EXPECT_EQ(metrics.Get(GaugeId::kRequestsRunning).Value(), 3);
}

TEST(Metrics, AdvanceToFollowsATotal) {
  Metrics metrics(Component::kWorker);
  const Counter counter = metrics.Get(CounterId::kPreemptions);
  counter.AdvanceTo(4);
  counter.AdvanceTo(4);
  counter.AdvanceTo(3);
  counter.AdvanceTo(6);
  EXPECT_THAT(metrics.Text(), HasSubstr("tessera_num_preemptions_total 6"));
}

TEST(Metrics, LabelsAreBounded) {
  Metrics metrics(Component::kGateway);
  for (int i = 0; i < 100; ++i)
    metrics.Get(CounterId::kRequests, "made up " + std::to_string(i)).Add();
  EXPECT_THAT(metrics.Text(), HasSubstr("tessera_requests_total{code=\"other\"} 100"));
  EXPECT_THAT(metrics.Text(), Not(HasSubstr("made up")));
}

TEST(Metrics, OnlyTheComponentsRowsExist) {
  Metrics metrics(Component::kRouter);
  metrics.Get(CounterId::kPlacements, "ok").Add();
  EXPECT_THAT(metrics.Text(), Not(HasSubstr("tessera_step_seconds")));
  EXPECT_DEATH(metrics.Get(HistogramId::kStep),
               "tessera_step_seconds is not a metric of the router");
}

TEST(Metrics, DefaultHandlesDoNothing) {
  Counter().Add();
  Gauge().Set(1);
  Histogram().Observe(1);
  EXPECT_EQ(Gauge().Value(), 0);
}

TEST(MetricsTable, NamesAreUniqueAndHaveHelp) {
  std::set<std::string> names;
  for (const auto& rows : {CounterRows(), GaugeRows(), HistogramRows()}) {
    for (const MetricRow& row : rows) {
      EXPECT_TRUE(names.insert(row.name).second) << row.name;
      EXPECT_EQ(std::string(row.name).rfind("tessera_", 0), 0u);
      EXPECT_NE(row.components, 0);
      EXPECT_FALSE(std::string(row.help).empty());
      EXPECT_EQ(row.label == nullptr, row.label_values.empty());
    }
  }
  EXPECT_EQ(CounterRows().size(), static_cast<size_t>(CounterId::kRouterGroupChanges) + 1);
  EXPECT_EQ(GaugeRows().size(), static_cast<size_t>(GaugeId::kRouterGroupMembers) + 1);
  EXPECT_EQ(HistogramRows().size(), static_cast<size_t>(HistogramId::kStep) + 1);
  for (const MetricRow& row : HistogramRows()) EXPECT_FALSE(row.buckets.empty());
}

std::string HttpGet(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  const std::string request = "GET /metrics HTTP/1.0\r\n\r\n";
  EXPECT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
  std::string answer;
  char buffer[4096];
  for (ssize_t count; (count = read(fd, buffer, sizeof buffer)) > 0;)
    answer.append(buffer, static_cast<size_t>(count));
  close(fd);
  return answer;
}

TEST(Metrics, ServesOverHttpAndNamesAnAddressInUse) {
  Metrics metrics(Component::kRouter);
  metrics.Get(CounterId::kPlacements, "full").Add();
  const auto address = metrics.Listen("127.0.0.1:0");
  ASSERT_TRUE(address.ok()) << address.status();
  const std::string answer = HttpGet(std::stoi(address->substr(address->rfind(':') + 1)));
  EXPECT_THAT(answer, HasSubstr("200 OK"));
  EXPECT_THAT(answer, HasSubstr("tessera_router_placements_total{result=\"full\"} 1"));
  Metrics second(Component::kRouter);
  const auto refused = second.Listen(*address);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr(*address));
}

}  // namespace
}  // namespace tessera::telemetry
