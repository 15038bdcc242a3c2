#include "router/policy/policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tessera::router {
namespace {

using ::testing::HasSubstr;

WorkerView Worker(const std::string& id, int64_t outstanding_tokens = 0) {
  WorkerView worker;
  worker.description.id = WorkerId(id);
  worker.description.address = id + ":1";
  worker.description.model_revision = "r1";
  worker.description.numerics = "bf16/avx2";
  worker.load.outstanding_tokens = outstanding_tokens;
  worker.load.max_queued_requests = 4;
  return worker;
}

RequestShape Shape() {
  RequestShape shape;
  shape.model_revision = "r1";
  shape.prompt_tokens = 100;
  shape.max_new_tokens = 10;
  return shape;
}

std::vector<std::string> Ids(const std::vector<const WorkerView*>& workers) {
  std::vector<std::string> ids;
  for (const WorkerView* worker : workers) {
    ids.push_back(worker->description.id.value());
  }
  return ids;
}

TEST(EligibleWorkers, LeavesOutWhoCannotServe) {
  ClusterSnapshot snapshot;
  snapshot.workers = {Worker("draining"), Worker("excluded"), Worker("full"),    Worker("good"),
                      Worker("numerics"), Worker("prefill"),  Worker("revision")};
  snapshot.workers[0].draining = true;
  snapshot.workers[2].load.queued_requests = 3;
  snapshot.workers[2].reserved_requests = 1;
  snapshot.workers[4].description.numerics = "f32/avx2";
  snapshot.workers[5].description.role = WorkerRole::kPrefill;
  snapshot.workers[6].description.model_revision = "r2";
  RequestShape shape = Shape();
  shape.numerics = "bf16/avx2";
  shape.excluded_workers = {WorkerId("excluded")};
  EXPECT_THAT(Ids(*EligibleWorkers(shape, snapshot)), ::testing::ElementsAre("good"));
}

TEST(EligibleWorkers, SaysWhyNobodyCan) {
  ClusterSnapshot snapshot;
  EXPECT_EQ(EligibleWorkers(Shape(), snapshot).status(),
            absl::UnavailableError("no worker is registered"));
  snapshot.workers = {Worker("a"), Worker("b")};
  snapshot.workers[0].draining = true;
  snapshot.workers[1].description.model_revision = "r2";
  const absl::Status status = EligibleWorkers(Shape(), snapshot).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(),
            "none of 2 workers can take the request: 1 with another model revision, 1 draining");
}

TEST(EligibleWorkers, FullQueuesAreResourceExhausted) {
  ClusterSnapshot snapshot;
  snapshot.workers = {Worker("a"), Worker("b")};
  snapshot.workers[0].load.queued_requests = 4;
  snapshot.workers[1].draining = true;
  const absl::Status status = EligibleWorkers(Shape(), snapshot).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("1 with a full queue"));
}

TEST(LeastTokens, CountsReservationsAndBreaksTiesInTurn) {
  const std::vector<WorkerView> workers = {Worker("a", 50), Worker("b", 10), Worker("c", 10)};
  std::vector<const WorkerView*> eligible;
  for (const WorkerView& worker : workers) {
    eligible.push_back(&worker);
  }
  EXPECT_EQ(ChooseLeastTokens(Shape(), eligible, 0)->description.id.value(), "b");
  EXPECT_EQ(ChooseLeastTokens(Shape(), eligible, 2)->description.id.value(), "c");
  WorkerView reserved = workers[1];
  reserved.reserved_tokens = 100;
  eligible[1] = &reserved;
  EXPECT_EQ(ChooseLeastTokens(Shape(), eligible, 0)->description.id.value(), "c");
}

TEST(LeastTokens, SpreadsABurstOverIdleWorkers) {
  std::vector<WorkerView> workers = {Worker("a"), Worker("b"), Worker("c")};
  std::map<std::string, int> placed;
  for (uint64_t turn = 0; turn < 30; ++turn) {
    std::vector<const WorkerView*> eligible;
    for (const WorkerView& worker : workers) {
      eligible.push_back(&worker);
    }
    const WorkerView* chosen = ChooseLeastTokens(Shape(), eligible, turn);
    ++placed[chosen->description.id.value()];
    workers[chosen - workers.data()].reserved_tokens += Shape().tokens();
  }
  EXPECT_THAT(placed,
              ::testing::UnorderedElementsAre(std::make_pair("a", 10), std::make_pair("b", 10),
                                              std::make_pair("c", 10)));
}

TEST(RoundRobin, TakesOneAfterTheOther) {
  const std::vector<WorkerView> workers = {Worker("a", 1000), Worker("b")};
  const std::vector<const WorkerView*> eligible = {&workers[0], &workers[1]};
  EXPECT_EQ(ChooseRoundRobin(Shape(), eligible, 0), &workers[0]);
  EXPECT_EQ(ChooseRoundRobin(Shape(), eligible, 1), &workers[1]);
  EXPECT_EQ(ChooseRoundRobin(Shape(), eligible, 2), &workers[0]);
}

TEST(PolicyByName, KnowsBothAndNamesTheWrongOne) {
  EXPECT_EQ(*PolicyByName("least_tokens"), &ChooseLeastTokens);
  EXPECT_EQ(*PolicyByName("round_robin"), &ChooseRoundRobin);
  EXPECT_THAT(std::string(PolicyByName("random").status().message()),
              HasSubstr("\"random\" is not one of"));
}

}  // namespace
}  // namespace tessera::router
