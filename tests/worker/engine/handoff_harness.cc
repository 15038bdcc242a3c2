#include "tests/worker/engine/handoff_harness.h"

#include <map>
#include <utility>

#include "gtest/gtest.h"

namespace tessera::engine::testing {
namespace {

class RecordingExport final : public KvExport {
 public:
  explicit RecordingExport(std::shared_ptr<Exported> exported) : exported_(std::move(exported)) {}
  void OnRows(int64_t layer, int64_t first_position, int64_t num_rows,
              absl::Span<const std::byte> rows) override {
    exported_->rows.push_back(
        {layer, first_position, num_rows, std::vector<std::byte>(rows.begin(), rows.end())});
  }
  void OnComplete() override {
    ++exported_->num_completions;
    if (exported_->outcome != nullptr) {
      EXPECT_TRUE(exported_->outcome->tokens().empty());
    }
  }

 private:
  std::shared_ptr<Exported> exported_;
};

}  // namespace

std::shared_ptr<KvExport> ExportTo(std::shared_ptr<Exported> exported) {
  return std::make_shared<RecordingExport>(std::move(exported));
}

void ExpectAllRowsOnce(const Exported& exported, int64_t num_layers, int64_t from,
                       int64_t num_tokens) {
  std::map<int64_t, int64_t> next;
  for (const Exported::Rows& rows : exported.rows) {
    const auto place = next.emplace(rows.layer, from).first;
    ASSERT_EQ(rows.first_position, place->second) << "layer " << rows.layer;
    ASSERT_GT(rows.num_rows, 0);
    place->second += rows.num_rows;
  }
  for (int64_t layer = 0; layer < num_layers; ++layer) {
    ASSERT_EQ(next.emplace(layer, from).first->second, num_tokens) << "layer " << layer;
  }
  EXPECT_EQ(exported.num_completions, 1);
}

GenerationRequest WithoutTiles(GenerationRequest request) {
  for (PromptImage& image : request.images) image.tiles.clear();
  return request;
}

std::shared_ptr<Outcome> SubmitTo(Engine& engine, GenerationRequest request) {
  auto outcome = std::make_shared<Outcome>();
  const absl::Status status =
      engine.Submit(std::move(request), std::make_unique<RecordingSink>(outcome));
  EXPECT_EQ(status, absl::OkStatus());
  return outcome;
}

void RunDry(Engine& engine) {
  for (int64_t i = 0; i < 100'000; ++i) {
    engine.StepForTest();
    const EngineSnapshot snapshot = engine.Snapshot();
    if (snapshot.running_requests + snapshot.queued_requests == 0) return;
  }
  FAIL() << "the engine does not come to an end";
}

LeaseAnswer AskForLease(Engine& engine, const std::string& id, const GenerationRequest& prompt,
                        absl::Duration lease) {
  auto answer = std::make_shared<std::optional<absl::StatusOr<KvLease>>>();
  engine.LeaseBlocks(id, WithoutTiles(prompt), lease, [answer](absl::StatusOr<KvLease> lease) {
    EXPECT_FALSE(answer->has_value()) << "a second answer";
    *answer = std::move(lease);
  });
  return answer;
}

GenerationRequest Continuation(const GenerationRequest& request, const std::string& lease_id,
                               const std::vector<int32_t>& tokens) {
  GenerationRequest rest = WithoutTiles(request);
  rest.token_ids.insert(rest.token_ids.end(), tokens.begin(), tokens.end());
  rest.kv_lease = lease_id;
  return rest;
}

Handoff HandOver(Engine& prefill, Engine& decode, const GenerationRequest& request) {
  Handoff handoff;
  const std::string id = request.id.value() + "/handoff";
  const LeaseAnswer answer = AskForLease(decode, id, request);
  decode.StepForTest();
  if (!answer->has_value() || !(*answer)->ok()) {
    ADD_FAILURE() << "no lease";
    return handoff;
  }
  handoff.from = (**answer)->num_cached_tokens;

  GenerationRequest first = request;
  handoff.exported = std::make_shared<Exported>();
  first.kv_export = ExportTo(handoff.exported);
  first.kv_export_from = handoff.from;
  const auto computed = SubmitTo(prefill, std::move(first));
  handoff.exported->outcome = computed;
  RunDry(prefill);
  handoff.events = computed->events();
  handoff.tokens = computed->tokens();
  handoff.reason = computed->reason();
  handoff.status = computed->status();
  handoff.usage = computed->usage();
  if (handoff.reason != FinishReason::kHandedOver) {
    decode.ReleaseLease(id);
    decode.StepForTest();
    return handoff;
  }
  EXPECT_EQ(handoff.tokens.size(), 1u);
  for (const Exported::Rows& rows : handoff.exported->rows) {
    EXPECT_EQ(decode.WriteRows(id, rows.layer, rows.first_position, rows.bytes), absl::OkStatus());
  }
  const auto rest = SubmitTo(decode, Continuation(request, id, handoff.tokens));
  RunDry(decode);
  for (const TokenEvent& event : rest->events()) {
    handoff.events.push_back(event);
    handoff.tokens.push_back(event.token_id);
  }
  handoff.reason = rest->reason();
  handoff.status = rest->status();
  handoff.usage = rest->usage();
  return handoff;
}

}  // namespace tessera::engine::testing
