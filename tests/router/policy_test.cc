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

TEST(ByPrefix, ALongKnownPrefixWinsUnlessThatWorkerIsMuchBusier) {
  std::vector<WorkerView> workers = {Worker("idle"), Worker("knows", 60)};
  workers[1].known_prefix_tokens = 80;
  const std::vector<const WorkerView*> eligible = {&workers[0], &workers[1]};
  EXPECT_EQ(ChooseByPrefix(Shape(), eligible, 0), &workers[1]) << "20 + 60 against 100";
  workers[1].load.outstanding_tokens = 81;
  EXPECT_EQ(ChooseByPrefix(Shape(), eligible, 1), &workers[0]) << "20 + 81 against 100";
  workers[0].reserved_tokens = 2;
  EXPECT_EQ(ChooseByPrefix(Shape(), eligible, 0), &workers[1]) << "20 + 81 against 102";
}

TEST(ByPrefix, WithoutAKnownPrefixItIsLeastTokens) {
  const std::vector<WorkerView> workers = {Worker("a", 50), Worker("b", 10), Worker("c", 10)};
  const std::vector<const WorkerView*> eligible = {&workers[0], &workers[1], &workers[2]};
  for (uint64_t turn = 0; turn < 6; ++turn) {
    EXPECT_EQ(ChooseByPrefix(Shape(), eligible, turn), ChooseLeastTokens(Shape(), eligible, turn));
  }
}

TEST(DecodeRank, TheFewestTokensThenTheLeastKv) {
  std::vector<WorkerView> workers = {Worker("a", 50), Worker("b", 10), Worker("c", 10)};
  workers[1].load.kv_blocks_used = 9;
  workers[2].load.kv_blocks_used = 8;
  const std::vector<const WorkerView*> eligible = {&workers[0], &workers[1], &workers[2]};
  for (uint64_t turn = 0; turn < 3; ++turn) {
    EXPECT_EQ(ChooseDecodeRank(eligible, turn), &workers[2]);
  }
}

TEST(PolicyByName, KnowsAllAndNamesTheWrongOne) {
  EXPECT_EQ(*PolicyByName("least_tokens"), &ChooseLeastTokens);
  EXPECT_EQ(*PolicyByName("round_robin"), &ChooseRoundRobin);
  EXPECT_EQ(*PolicyByName("prefix"), &ChooseByPrefix);
  EXPECT_THAT(std::string(PolicyByName("random").status().message()),
              HasSubstr("\"random\" is not one of"));
}

}  // namespace
}  // namespace tessera::router
