#include "services/gateway/dispatch/prompt_hashes.h"
#include "tests/services/gateway/api/gateway_fixture.h"

namespace tessera::gateway {
namespace {

class PrefixTest : public GatewayTest {
 protected:
  PrefixTest() { policy_ = &router::ChooseByPrefix; }

  void TellBlocks(const std::string& id, absl::Span<const uint64_t> hashes) {
    router::HeartbeatReport report;
    for (const uint64_t hash : hashes) report.block_events.push_back({hash});
    report.block_events_are_all = true;
    ASSERT_TRUE(registry_.Heartbeat(WorkerId(id), report).ok());
  }
};

TEST_F(PrefixTest, AKnownPromptGoesToTheWorkerThatKnowsIt) {
  FakeWorker& first = NewWorker();
  FakeWorker& second = NewWorker();
  first.script = second.script = Script("one two");
  AddWorker("a", first);
  AddWorker("b", second);
  StartGateway();
  const v1::GenerateRequest known = Ask(
      "A question that is long enough to fill some blocks of sixteen tokens each, so that there is "
      "something to know about it.");
  ASSERT_TRUE(Generate(known).status.ok());  // the block size is learned from its placement
  ASSERT_EQ(first.calls + second.calls, 1);
  const v1::DecodeRequest seen = (first.calls > 0 ? first : second).requests()[0];
  ASSERT_GE(seen.prompt().token_ids_size(), 32);
  PromptHashes hashes;
  const int before = second.calls;
  for (int i = 0; i < 3; ++i) {
    // Heartbeats also end the reservations, so both are equally idle.
    TellBlocks("a", {});
    TellBlocks("b", hashes.Of(seen.prompt(), {}, 16));
    ASSERT_TRUE(Generate(known).status.ok());
  }
  EXPECT_EQ(second.calls, before + 3);
  const int others = first.calls;
  for (int i = 0; i < 2; ++i) {
    TellBlocks("b", {});
    TellBlocks("a", hashes.Of(seen.prompt(), {}, 16));
    ASSERT_TRUE(Generate(known).status.ok());
  }
  EXPECT_EQ(first.calls, others + 2);
}

}  // namespace
}  // namespace tessera::gateway
