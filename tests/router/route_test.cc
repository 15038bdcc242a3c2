#include "router/policy/route.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

namespace tessera::router {
namespace {

WorkerView Worker(const std::string& id, WorkerRole role = WorkerRole::kBoth,
                  int64_t outstanding_tokens = 0) {
  WorkerView worker;
  worker.description.id = WorkerId(id);
  worker.description.role = role;
  worker.description.address = id + ":1";
  worker.description.model_revision = "r1";
  worker.description.numerics = "bf16/avx2";
  worker.description.kv_block_size_tokens = 16;
  worker.load.outstanding_tokens = outstanding_tokens;
  worker.load.max_queued_requests = 4;
  return worker;
}

WorkerView Prefill(const std::string& id, int64_t outstanding_tokens = 0) {
  return Worker(id, WorkerRole::kPrefill, outstanding_tokens);
}

WorkerView Decode(const std::string& id, int64_t outstanding_tokens = 0) {
  return Worker(id, WorkerRole::kDecode, outstanding_tokens);
}

RequestShape Shape() {
  RequestShape shape;
  shape.model_revision = "r1";
  shape.prompt_tokens = 100;
  shape.max_new_tokens = 10;
  return shape;
}

absl::StatusOr<Route> Choose(const ClusterSnapshot& snapshot, const RequestShape& shape = Shape(),
                             uint64_t turn = 0) {
  return ChooseRoute(shape, snapshot, &ChooseLeastTokens, turn);
}

// "prefill>decode", or the error's code and message.
std::string Text(const absl::StatusOr<Route>& route) {
  if (!route.ok()) {
    return route.status().ToString();
  }
  return route->prefill->description.id.value() + ">" + route->decode->description.id.value();
}

TEST(Route, LeavesOutWhoCannotServe) {
  ClusterSnapshot snapshot;
  snapshot.workers = {Worker("draining"), Worker("excluded"),
                      Worker("full"),     Worker("good", WorkerRole::kBoth, 1000),
                      Worker("numerics"), Worker("revision"),
                      Worker("stage"),    Worker("ungrouped"),
                      Worker("small")};
  auto& workers = snapshot.workers;
  workers[0].draining = true;
  workers[2].load.queued_requests = 3;
  workers[2].reserved_requests = 1;
  workers[4].description.numerics = "f32/avx2";
  workers[5].description.model_revision = "r2";
  workers[6].place = {.group = "g", .stages = 2, .stage = 1, .epoch = 5};
  workers[7].place = {.group = "g", .stages = 2, .epoch = 0};
  workers[8].load.kv_blocks_total = 6;  // 96 tokens, 109 are needed
  RequestShape shape = Shape();
  shape.numerics = "bf16/avx2";
  shape.excluded_workers = {WorkerId("excluded")};
  for (uint64_t turn = 0; turn < 9; ++turn) {
    EXPECT_EQ(Text(Choose(snapshot, shape, turn)), "good>good");
  }
  workers.erase(workers.begin() + 3);
  workers[2].reserved_requests = 0;
  EXPECT_EQ(Text(Choose(snapshot, shape)), "full>full") << "it has room now";
  workers[2].draining = true;
  EXPECT_EQ(Text(Choose(snapshot, shape)),
            "UNAVAILABLE: none of 8 workers can take the request: 1 with another model revision, 1 "
            "with other numerics, 1 of a later stage, 1 with too little KV for it, 2 draining, 1 "
            "waiting for the ranks of their group, 1 failed this request before");
}

TEST(Route, ARankTakesRequestsOnceItsGroupStands) {
  ClusterSnapshot snapshot;
  snapshot.workers = {Worker("a")};
  snapshot.workers[0].place = {.group = "g", .stages = 2, .expert_ranks = 2};
  EXPECT_EQ(Text(Choose(snapshot)),
            "UNAVAILABLE: none of 1 workers can take the request: 1 waiting for the ranks of their "
            "group");
  snapshot.workers[0].place.epoch = 1;
  EXPECT_EQ(Text(Choose(snapshot)), "a>a");
}

TEST(Route, SaysWhyNobodyCan) {
  ClusterSnapshot snapshot;
  EXPECT_EQ(Text(Choose(snapshot)), "UNAVAILABLE: no worker is registered");
  snapshot.workers = {Worker("a"), Worker("b")};
  snapshot.workers[0].draining = true;
  snapshot.workers[1].description.model_revision = "r2";
  EXPECT_EQ(Text(Choose(snapshot)),
            "UNAVAILABLE: none of 2 workers can take the request: 1 with another model revision, 1 "
            "draining");
}

TEST(Route, FullQueuesAreResourceExhausted) {
  ClusterSnapshot snapshot;
  snapshot.workers = {Worker("a"), Worker("b")};
  snapshot.workers[0].load.queued_requests = 4;
  snapshot.workers[1].draining = true;
  EXPECT_EQ(Text(Choose(snapshot)),
            "RESOURCE_EXHAUSTED: none of 2 workers can take the request: 1 draining, 1 with a full "
            "queue");
}

TEST(Route, ARequestThatNoKvCanHoldIsRefusedForGood) {
  ClusterSnapshot snapshot;
  snapshot.workers = {Worker("a")};
  snapshot.workers[0].load.kv_blocks_total = 6;
  EXPECT_EQ(Choose(snapshot).status().code(), absl::StatusCode::kOutOfRange);
  snapshot.workers[0].load.kv_blocks_total = 7;  // 112 tokens; the last one needs no KV
  EXPECT_EQ(Text(Choose(snapshot)), "a>a");
  snapshot.workers = {Prefill("p"), Decode("d")};
  snapshot.workers[0].load.kv_blocks_total = 7;
  snapshot.workers[1].load.kv_blocks_total = 6;
  EXPECT_EQ(Text(Choose(snapshot)),
            "OUT_OF_RANGE: none of 2 workers can take the request: decode pool: 1 with too little "
            "KV for it");
}

TEST(Route, SplitPoolsGiveOneOfEach) {
  ClusterSnapshot snapshot;
  snapshot.workers = {Decode("d1", 50), Decode("d2", 20), Prefill("p1", 300), Prefill("p2", 200)};
  EXPECT_EQ(Text(Choose(snapshot)), "p2>d2");
  RequestShape shape = Shape();
  shape.excluded_workers = {WorkerId("d2")};
  EXPECT_EQ(Text(Choose(snapshot, shape)), "p2>d1");
  shape.excluded_workers = {WorkerId("p2")};
  EXPECT_EQ(Text(Choose(snapshot, shape)), "p1>d2");
  snapshot.workers[1].load.kv_blocks_total = 6;
  EXPECT_EQ(Text(Choose(snapshot)), "p2>d1") << "d2 cannot hold the answer";
}

TEST(Route, RanksThatDifferAreNeverMixed) {
  ClusterSnapshot snapshot;
  snapshot.workers = {Decode("d"), Prefill("p-blocks"), Prefill("p-numerics"),
                      Prefill("p-revision"), Prefill("p", 1000)};
  snapshot.workers[1].description.kv_block_size_tokens = 32;
  snapshot.workers[2].description.numerics = "f32/avx2";
  snapshot.workers[3].description.model_revision = "r2";
  for (uint64_t turn = 0; turn < 4; ++turn) {
    EXPECT_EQ(Text(Choose(snapshot, Shape(), turn)), "p>d");
  }
  snapshot.workers.pop_back();
  EXPECT_EQ(
      Text(Choose(snapshot)),
      "UNAVAILABLE: none of 4 workers can take the request: prefill and decode pool differ in "
      "numerics or KV block size");
}

TEST(Route, UnsplitRanksAndSplitPoolsLiveSideBySide) {
  ClusterSnapshot snapshot;
  snapshot.workers = {Worker("both", WorkerRole::kBoth, 100), Decode("d", 500), Prefill("p", 50)};
  EXPECT_EQ(Text(Choose(snapshot)), "p>d");
  snapshot.workers[0].load.outstanding_tokens = 10;
  EXPECT_EQ(Text(Choose(snapshot)), "both>both");
  snapshot.workers[0].draining = true;
  EXPECT_EQ(Text(Choose(snapshot)), "p>d");
  snapshot.workers[0].draining = false;
  snapshot.workers[1].draining = true;
  snapshot.workers[2].load.outstanding_tokens = 0;
  EXPECT_EQ(Text(Choose(snapshot)), "both>both") << "a prefill rank without a partner is no choice";
}

TEST(Route, NamesThePoolThatIsMissingOrFull) {
  ClusterSnapshot snapshot;
  snapshot.workers = {Prefill("p")};
  EXPECT_EQ(Text(Choose(snapshot)),
            "UNAVAILABLE: none of 1 workers can take the request: decode pool: no worker");
  snapshot.workers = {Decode("d"), Prefill("p")};
  snapshot.workers[0].load.queued_requests = 4;
  EXPECT_EQ(
      Text(Choose(snapshot)),
      "RESOURCE_EXHAUSTED: none of 2 workers can take the request: decode pool: 1 with a full "
      "queue");
  snapshot.workers[1].draining = true;
  EXPECT_EQ(Text(Choose(snapshot)),
            "UNAVAILABLE: none of 2 workers can take the request: prefill pool: 1 draining; decode "
            "pool: 1 with a full queue");
  snapshot.workers.push_back(Worker("both"));
  snapshot.workers[2].load.queued_requests = 4;
  EXPECT_EQ(Text(Choose(snapshot)),
            "RESOURCE_EXHAUSTED: none of 3 workers can take the request: unsplit pool: 1 with a "
            "full queue; prefill pool: 1 draining; decode pool: 1 with a full queue");
}

TEST(Route, EqualPairsTakeTurns) {
  ClusterSnapshot snapshot;
  snapshot.workers = {Decode("d1"), Decode("d2"), Prefill("p1"), Prefill("p2")};
  std::set<std::string> routes;
  for (uint64_t turn = 0; turn < 4; ++turn) {
    routes.insert(Text(Choose(snapshot, Shape(), turn)));
  }
  EXPECT_EQ(routes.size(), 2u);
}

}  // namespace
}  // namespace tessera::router
