#include "services/cli/top/cluster_text.h"

#include <sstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace tessera::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

v1::ClusterWorker* Add(ClusterFrame& frame, const std::string& id, v1::WorkerRole role) {
  v1::ClusterWorker* rank = frame.cluster.add_workers();
  rank->set_worker_id(id);
  rank->set_address("127.0.0.1:5000");
  rank->set_role(role);
  rank->set_model_name("tiny");
  rank->set_model_revision("0123456789abcdef0123");
  rank->set_numerics("f32-avx2");
  rank->set_heartbeat_age_ms(250);
  return rank;
}

void Place(v1::ClusterWorker* rank, const std::string& group, int stages, int expert_ranks,
           int stage, int expert_rank, uint64_t epoch) {
  v1::GroupPlace* place = rank->mutable_place();
  place->set_group(group);
  place->set_stages(stages);
  place->set_expert_ranks(expert_ranks);
  place->set_stage(stage);
  place->set_expert_rank(expert_rank);
  place->set_epoch(epoch);
}

// One prefill worker and a decode group of two stages, listed in no order.
ClusterFrame Frame() {
  ClusterFrame frame;
  frame.router = "127.0.0.1:7401";
  frame.time = frame.cluster_time = kNow;
  frame.cluster.set_epoch(7);
  v1::ClusterWorker* last = Add(frame, "decode-0-s1e0", v1::WORKER_ROLE_DECODE);
  Place(last, "decode-0", 2, 1, 1, 0, 3);
  last->mutable_load()->set_running_requests(2);
  last->mutable_load()->set_kv_blocks_total(100);
  last->mutable_load()->set_kv_blocks_used(95);
  v1::ClusterWorker* first = Add(frame, "decode-0-s0e0", v1::WORKER_ROLE_DECODE);
  Place(first, "decode-0", 2, 1, 0, 0, 3);
  first->mutable_load()->set_running_requests(2);
  first->mutable_load()->set_queued_requests(1);
  first->mutable_load()->set_kv_blocks_total(100);
  first->mutable_load()->set_kv_blocks_used(5);
  first->mutable_load()->set_kv_blocks_cached(11);
  first->mutable_load()->set_kv_leases_reclaimed(4);
  first->mutable_load()->set_expert_imbalance(1.25);
  Add(frame, "prefill-0", v1::WORKER_ROLE_PREFILL)->mutable_load()->set_kv_blocks_total(50);
  frame.rates["decode-0-s0e0"] = {0, 42.5};
  frame.rates["decode-0-s1e0"] = {0, 42.5};
  return frame;
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    lines.push_back(line);
  }
  return lines;
}

std::string LineWith(const std::string& text, const std::string& start) {
  for (const std::string& line : Lines(text)) {
    if (line.rfind(start, 0) == 0) {
      return line;
    }
  }
  ADD_FAILURE() << "no line starts with " << start << " in\n" << text;
  return "";
}

TEST(ClusterText, ShowsPoolsAndRanks) {
  const std::string text = ClusterText(Frame(), {.columns = 200});
  EXPECT_THAT(Lines(text)[0], HasSubstr("127.0.0.1:7401  epoch 7"));
  EXPECT_EQ(Lines(text)[1], "model tiny (0123456789ab, f32-avx2)");
  EXPECT_EQ(
      LineWith(text, "POOL"),
      "POOL     GROUPS  RANKS  READY  RUN  QUEUE  KV            KV%  CACHED  PROMPT/S  GEN/S  "
      "LEASES");
  EXPECT_EQ(
      LineWith(text, "decode "),
      "decode        1      2      2    2      1  [#####.....]  50%      11       0.0   42.5  "
      "     4");
  EXPECT_EQ(
      LineWith(text, "all"),
      "all           2      3      3    2      1  [####......]  40%      11       0.0   42.5  "
      "     4");
  EXPECT_EQ(
      LineWith(text, "RANK"),
      "RANK           ROLE     GROUP     PLACE        STATE  EPOCH  BEAT  RUN  QUEUE  KV      "
      "      KV%  CACHED  PROMPT/S  GEN/S  IMBALANCE  LEASES");
  EXPECT_EQ(LineWith(text, "decode-0-s0e0"),
            "decode-0-s0e0  decode   decode-0  s0e0 of 2x1  ready      3  0.2s    2      1  "
            "[#.........]   5%      11       0.0   42.5       1.25       4");
  EXPECT_EQ(LineWith(text, "prefill-0"),
            "prefill-0      prefill  -         -            ready      -  0.2s    0      0  "
            "[..........]   0%       0         -      -          -       0");
  EXPECT_LT(text.find("prefill-0"), text.find("decode-0-s0e0"));
  EXPECT_LT(text.find("decode-0-s0e0"), text.find("decode-0-s1e0"));
  EXPECT_THAT(text, Not(HasSubstr("\033")));
}

TEST(ClusterText, NoLineIsWiderThanTheTerminal) {
  for (size_t columns = 1; columns <= 160; ++columns) {
    const std::string text = ClusterText(Frame(), {.columns = columns});
    for (const std::string& line : Lines(text)) {
      ASSERT_LE(line.size(), columns) << line;
    }
  }
  const std::string narrow = ClusterText(Frame(), {.columns = 80});
  EXPECT_THAT(LineWith(narrow, "RANK"),
              AllOf(HasSubstr("STATE"), HasSubstr("RUN"), HasSubstr("KV%"), HasSubstr("GEN/S")));
}

TEST(ClusterText, SaysHowManyLinesAreLeftOut) {
  const size_t all = Lines(ClusterText(Frame(), {})).size();
  const std::vector<std::string> lines = Lines(ClusterText(Frame(), {.rows = all - 2}));
  EXPECT_EQ(lines.size(), all - 2);
  EXPECT_EQ(lines.back(), "... 3 more lines");
  EXPECT_EQ(Lines(ClusterText(Frame(), {.rows = all})), Lines(ClusterText(Frame(), {})));
  EXPECT_EQ(Lines(ClusterText(Frame(), {.rows = 1})).size(), 1u);
}

TEST(ClusterText, ShowsStates) {
  ClusterFrame frame = Frame();
  frame.cluster.mutable_workers(1)->set_draining(true);
  frame.cluster.mutable_workers(0)->mutable_place()->set_epoch(0);
  const std::string text = ClusterText(frame, {.columns = 200, .color = true});
  EXPECT_THAT(text, AllOf(HasSubstr("\033[33mdraining\033[0m"), HasSubstr("\033[33mwaiting\033[0m"),
                          HasSubstr("\033[32mready\033[0m"), HasSubstr("\033[31m95%\033[0m")));
  EXPECT_EQ(SummarizePools(frame).back().ready_ranks, 1);
}

TEST(ClusterText, SaysThatTheRouterIsGone) {
  ClusterFrame frame;
  frame.router = "127.0.0.1:7401";
  frame.time = kNow;
  frame.status = absl::UnavailableError("nobody listens");
  const std::string never = ClusterText(frame, {});
  EXPECT_THAT(never, AllOf(HasSubstr("the router does not answer, trying again\n"),
                           HasSubstr("UNAVAILABLE: nobody listens"), Not(HasSubstr("RANK"))));
  ClusterFrame later = Frame();
  later.status = frame.status;
  later.time = kNow + absl::Seconds(12);
  EXPECT_THAT(ClusterText(later, {}),
              AllOf(HasSubstr("below is what it said 12 s ago"), HasSubstr("prefill-0")));
}

TEST(ClusterText, AnEmptyClusterSaysSo) {
  ClusterFrame frame = Frame();
  frame.cluster.clear_workers();
  EXPECT_THAT(ClusterText(frame, {}),
              AllOf(HasSubstr("no rank is registered"), Not(HasSubstr("POOL"))));
}

TEST(ClusterText, NamesCannotSteerTheTerminal) {
  ClusterFrame frame = Frame();
  frame.cluster.mutable_workers(0)->set_worker_id("x\033[2J" + std::string(100, 'y') + "-end");
  const std::string text = ClusterText(frame, {.columns = 200});
  EXPECT_THAT(text, AllOf(Not(HasSubstr("\033")), HasSubstr("x?[2Jyyyyy"), HasSubstr("yy-end ")));
}

TEST(ClusterJson, HasAllThatTheTextHas) {
  const std::string line = ClusterJson(Frame());
  EXPECT_EQ(line.find('\n'), std::string::npos);
  const nlohmann::json object = nlohmann::json::parse(line);
  EXPECT_EQ(object["epoch"], 7);
  EXPECT_EQ(object["router"], "127.0.0.1:7401");
  ASSERT_EQ(object["ranks"].size(), 3u);
  EXPECT_EQ(object["ranks"][0]["id"], "prefill-0");
  EXPECT_TRUE(object["ranks"][0]["generated_tokens_per_second"].is_null());
  const nlohmann::json& rank = object["ranks"][1];
  EXPECT_EQ(rank["id"], "decode-0-s0e0");
  EXPECT_EQ(rank["role"], "decode");
  EXPECT_EQ(rank["group"], "decode-0");
  EXPECT_EQ(rank["stages"], 2);
  EXPECT_EQ(rank["epoch"], 3);
  EXPECT_EQ(rank["state"], "ready");
  EXPECT_EQ(rank["generated_tokens_per_second"], 42.5);
  EXPECT_EQ(rank["expert_imbalance"], 1.25);
  EXPECT_EQ(rank["kv_leases_reclaimed"], 4);
  ASSERT_EQ(object["pools"].size(), 3u);
  EXPECT_EQ(object["pools"][1]["role"], "decode");
  EXPECT_EQ(object["pools"][1]["running_requests"], 2);
  EXPECT_EQ(object["pools"][2]["ranks"], 3);
}

TEST(ClusterJson, SaysWhyThereIsNothing) {
  ClusterFrame frame = Frame();
  frame.status = absl::UnavailableError("nobody listens");
  const nlohmann::json object = nlohmann::json::parse(ClusterJson(frame));
  EXPECT_EQ(object["error"], "UNAVAILABLE: nobody listens");
  EXPECT_FALSE(object.contains("ranks"));
  EXPECT_TRUE(object.contains("time"));
}

}  // namespace
}  // namespace tessera::cli
