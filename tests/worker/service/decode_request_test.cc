#include "worker/service/decode_request.h"

#include <functional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/rpc/status_details.h"
#include "tessera/v1/worker.pb.h"

namespace tessera::worker {
namespace {

using ::testing::ElementsAre;

v1::DecodeRequest Valid() {
  v1::DecodeRequest request;
  request.set_request_id("r");
  v1::PreparedPrompt& prompt = *request.mutable_prompt();
  for (const int32_t id : {5, 1, 1, 1, 7}) prompt.add_token_ids(id);
  prompt.set_num_prompt_tokens(4);
  prompt.set_cache_salt("salt");
  v1::PromptImage& image = *prompt.add_images();
  image.set_tiles(std::string("\x01\xff\x00", 3));
  image.set_tiles_across(2);
  image.set_tiles_down(3);
  image.set_first_token(1);
  image.set_num_tokens(3);
  image.set_identity(std::string(32, 'i'));
  v1::DecodeSampling& sampling = *request.mutable_sampling();
  sampling.set_max_tokens(10);
  sampling.set_min_tokens(2);
  sampling.set_temperature(0.4);
  sampling.set_top_p(0.9);
  sampling.set_top_k(50);
  sampling.set_repetition_penalty(1.1);
  sampling.set_presence_penalty(0.5);
  sampling.set_frequency_penalty(-0.5);
  sampling.set_seed(~uint64_t{0});
  sampling.set_choice(3);
  sampling.set_num_logprobs(-1);
  sampling.set_ignore_eos(true);
  sampling.add_stop_token_ids(2);
  return request;
}

TEST(ToGenerationRequest, TakesEveryField) {
  const absl::Time deadline = absl::UnixEpoch() + absl::Hours(1);
  const auto request = ToGenerationRequest(Valid(), deadline);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->id, RequestId("r"));
  EXPECT_THAT(request->token_ids, ElementsAre(5, 1, 1, 1, 7));
  EXPECT_EQ(request->num_prompt_tokens, 4);
  EXPECT_EQ(request->cache_salt, "salt");
  EXPECT_EQ(request->deadline, deadline);
  ASSERT_EQ(request->images.size(), 1u);
  const engine::PromptImage& image = request->images[0];
  EXPECT_THAT(image.tiles, ElementsAre(1, 255, 0));
  EXPECT_EQ(image.tiles_across, 2);
  EXPECT_EQ(image.tiles_down, 3);
  EXPECT_EQ(image.first_token, 1);
  EXPECT_EQ(image.num_tokens, 3);
  EXPECT_EQ(image.identity[31], 'i');
  const engine::SamplingParams& sampling = request->sampling;
  EXPECT_EQ(sampling.max_tokens, 10);
  EXPECT_EQ(sampling.min_tokens, 2);
  EXPECT_EQ(sampling.temperature, 0.4);
  EXPECT_EQ(sampling.top_p, 0.9);
  EXPECT_EQ(sampling.top_k, 50);
  EXPECT_EQ(sampling.repetition_penalty, 1.1);
  EXPECT_EQ(sampling.presence_penalty, 0.5);
  EXPECT_EQ(sampling.frequency_penalty, -0.5);
  EXPECT_EQ(sampling.seed, ~uint64_t{0});
  EXPECT_EQ(sampling.choice, 3u);
  EXPECT_EQ(sampling.num_logprobs, -1);
  EXPECT_TRUE(sampling.ignore_eos);
  EXPECT_THAT(request->stop_token_ids, ElementsAre(2));
}

void ExpectRefused(const std::function<void(v1::DecodeRequest&)>& change, const char* field) {
  v1::DecodeRequest request = Valid();
  change(request);
  const absl::Status status = ToGenerationRequest(request, absl::InfiniteFuture()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  const auto violations = rpc::FieldViolationsOf(status);
  ASSERT_EQ(violations.size(), 1u) << field;
  EXPECT_EQ(violations[0].field, field);
}

TEST(ToGenerationRequest, NamesTheFieldThatIsWrong) {
  ExpectRefused([](auto& r) { r.clear_request_id(); }, "request_id");
  ExpectRefused([](auto& r) { r.set_request_id(std::string(257, 'x')); }, "request_id");
  ExpectRefused([](auto& r) { r.clear_prompt(); }, "prompt");
  ExpectRefused([](auto& r) { r.clear_sampling(); }, "sampling");
  ExpectRefused([](auto& r) { r.mutable_prompt()->mutable_images(0)->set_identity("short"); },
                "prompt.images[0].identity");
}

TEST(ToGenerationRequest, TakesAHandedOverPrompt) {
  v1::DecodeRequest request = Valid();
  const v1::PreparedPrompt prompt = request.prompt();
  request.mutable_handed_over()->set_handoff_id("h");
  *request.mutable_handed_over()->mutable_prompt() = prompt;
  request.set_priority(-7);
  auto generation = ToGenerationRequest(request, absl::InfiniteFuture());
  ASSERT_TRUE(generation.ok()) << generation.status();
  EXPECT_EQ(generation->kv_lease, "h");
  EXPECT_EQ(generation->priority, -7);
  EXPECT_THAT(generation->token_ids, ElementsAre(5, 1, 1, 1, 7));

  request.mutable_handed_over()->mutable_prompt()->mutable_images(0)->set_identity("short");
  generation = ToGenerationRequest(request, absl::InfiniteFuture());
  EXPECT_EQ(rpc::FieldViolationsOf(generation.status()).at(0).field,
            "handed_over.prompt.images[0].identity");
  request.mutable_handed_over()->clear_handoff_id();
  generation = ToGenerationRequest(request, absl::InfiniteFuture());
  EXPECT_EQ(rpc::FieldViolationsOf(generation.status()).at(0).field, "handed_over.handoff_id");
}

}  // namespace
}  // namespace tessera::worker
