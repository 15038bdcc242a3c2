#include "worker/engine/request_check.h"

#include <functional>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/worker/engine/fake_model.h"

namespace tessera::engine {
namespace {

using testing::FakeImage;
using testing::FakeModel;
using ::testing::HasSubstr;

GenerationRequest Valid() {
  GenerationRequest request;
  request.id = RequestId("r");
  request.token_ids.assign(40, 7);
  request.num_prompt_tokens = 40;
  request.sampling.max_tokens = 10;
  request.images = {FakeImage(1, 1, 1, 0), FakeImage(6, 2, 1, 1)};  // 5 and 7 tokens
  request.stop_token_ids = {3};
  return request;
}

absl::Status Check(const GenerationRequest& request, int64_t blocks = 100) {
  return CheckRequest(request, FakeModel(), blocks, 4);
}

void ExpectRefused(const std::function<void(GenerationRequest&)>& change, const char* field,
                   absl::StatusCode code = absl::StatusCode::kInvalidArgument) {
  GenerationRequest request = Valid();
  change(request);
  const absl::Status status = Check(request);
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(field));
}

TEST(CheckRequest, AcceptsAValidOne) { EXPECT_EQ(Check(Valid()), absl::OkStatus()); }

TEST(CheckRequest, NamesWhatIsWrong) {
  ExpectRefused([](auto& r) { r.id = RequestId(""); }, "request_id");
  ExpectRefused([](auto& r) { r.id = RequestId(std::string(513, 'x')); }, "request_id");
  ExpectRefused([](auto& r) { r.token_ids.clear(); }, "token_ids");
  ExpectRefused([](auto& r) { r.token_ids[3] = -1; }, "token_ids[3]");
  ExpectRefused([](auto& r) { r.token_ids[3] = 97; }, "token_ids[3]");
  ExpectRefused([](auto& r) { r.num_prompt_tokens = 0; }, "num_prompt_tokens");
  ExpectRefused([](auto& r) { r.num_prompt_tokens = 41; }, "num_prompt_tokens");
  ExpectRefused([](auto& r) { r.sampling.temperature = NAN; }, "temperature");
  ExpectRefused([](auto& r) { r.sampling.max_tokens = 217; }, "context");
  ExpectRefused([](auto& r) { r.sampling.max_tokens = std::numeric_limits<int64_t>::max(); },
                "context");
  ExpectRefused([](auto& r) { r.stop_token_ids = {97}; }, "stop_token_ids[0]");
  ExpectRefused([](auto& r) { r.stop_token_ids.assign(1025, 3); }, "stop_token_ids");
  ExpectRefused(
      [](auto& r) {
        r.images.clear();
        r.num_prompt_tokens = 29;  // 11 generated ones, more than max_tokens
      },
      "generated");
}

TEST(CheckRequest, PicturesMustFitTheirGridAndThePrompt) {
  ExpectRefused([](auto& r) { r.images[1].tiles_across = 0; }, "images[1].tiles_across");
  ExpectRefused([](auto& r) { r.images[0].tiles_down = int64_t{1} << 40; }, "tiles_down");
  ExpectRefused([](auto& r) { r.images[0].tiles.pop_back(); }, "images[0].tiles");
  ExpectRefused([](auto& r) { r.images[0].num_tokens = 4; }, "images[0].num_tokens");
  ExpectRefused([](auto& r) { r.images[1].first_token = 5; }, "images[1].first_token");
  ExpectRefused([](auto& r) { r.images[0].first_token = -1; }, "images[0].first_token");
  ExpectRefused([](auto& r) { r.images[1].first_token = 34; }, "images[1].first_token");
  ExpectRefused([](auto& r) { r.images[1].first_token = INT64_MAX; }, "images[1].first_token");
  ExpectRefused(
      [](auto& r) {
        r.num_prompt_tokens = 12;
        r.sampling.max_tokens = 30;
      },
      "images[1].first_token");  // pictures lie in the prompt, not among generated tokens
}

TEST(CheckRequest, PrioritiesAndExportsAreBounded) {
  ExpectRefused([](auto& r) { r.priority = 101; }, "priority");
  ExpectRefused([](auto& r) { r.priority = -101; }, "priority");
  ExpectRefused([](auto& r) { r.kv_export_from = -1; }, "kv_export_from");
  ExpectRefused([](auto& r) { r.kv_export_from = 41; }, "kv_export_from");
}

TEST(CheckRequest, OnlyALeaseStandsForTiles) {
  GenerationRequest request = Valid();
  request.token_ids.push_back(7);
  request.kv_lease = "l";
  for (PromptImage& image : request.images) image.tiles.clear();
  EXPECT_EQ(Check(request), absl::OkStatus());
  request.kv_lease.clear();
  EXPECT_THAT(std::string(Check(request).message()), HasSubstr("images[0].tiles"));
  request = Valid();
  request.kv_lease = "l";
  EXPECT_THAT(std::string(Check(request).message()), HasSubstr("generated"));
}

TEST(CheckLeaseRequest, NamesWhatIsWrong) {
  const auto check = [](const std::string& id, absl::Duration lease, int64_t blocks) {
    GenerationRequest prompt = Valid();
    prompt.id = RequestId("");
    for (PromptImage& image : prompt.images) image.tiles.clear();
    return CheckLeaseRequest(id, prompt, lease, FakeModel(), blocks, 4);
  };
  EXPECT_EQ(check("l", absl::Hours(1), 13), absl::OkStatus());
  EXPECT_THAT(std::string(check("", absl::Hours(1), 13).message()), HasSubstr("handoff_id"));
  EXPECT_THAT(std::string(check("l", absl::Hours(2), 13).message()), HasSubstr("lease is 2h"));
  EXPECT_EQ(check("l", absl::Hours(1), 12).code(), absl::StatusCode::kResourceExhausted);
}

TEST(CheckRequest, WhatCanNeverFitSaysBothNumbers) {
  EXPECT_TRUE(Check(Valid(), 13).ok());  // 40 + 10 - 1 tokens in blocks of 4
  const absl::Status status = Check(Valid(), 12);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("13"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("12"));
}

TEST(CheckOptions, NamesTheOption) {
  EXPECT_TRUE(CheckOptions({}).ok());
  const auto expect_refused = [](auto change, const char* name) {
    EngineOptions options;
    change(options);
    const absl::Status status = CheckOptions(options);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
  };
  expect_refused([](auto& o) { o.kv_block_size_tokens = 0; }, "kv_block_size_tokens");
  expect_refused([](auto& o) { o.kv_cache_bytes = 0; }, "kv_cache_bytes");
  expect_refused([](auto& o) { o.embedding_cache_bytes = -1; }, "embedding_cache_bytes");
  expect_refused([](auto& o) { o.max_batch_sequences = 0; }, "max_batch_sequences");
  expect_refused([](auto& o) { o.max_step_tokens = 63; }, "max_step_tokens");
  expect_refused([](auto& o) { o.prefill_chunk_tokens = 0; }, "prefill_chunk_tokens");
  expect_refused([](auto& o) { o.max_queued_requests = 0; }, "max_queued_requests");
  expect_refused([](auto& o) { o.no_progress_timeout = absl::ZeroDuration(); },
                 "no_progress_timeout");
}

}  // namespace
}  // namespace tessera::engine
