#include "tests/worker/engine/engine_harness.h"

#include <algorithm>
#include <chrono>

#include "services/base/check.h"

namespace tessera::engine::testing {

std::vector<int32_t> Outcome::tokens() const {
  std::lock_guard lock(mutex_);
  std::vector<int32_t> ids;
  for (const TokenEvent& event : events_) ids.push_back(event.token_id);
  return ids;
}
std::vector<TokenEvent> Outcome::events() const {
  std::lock_guard lock(mutex_);
  return events_;
}
int Outcome::num_finishes() const {
  std::lock_guard lock(mutex_);
  return num_finishes_;
}
FinishReason Outcome::reason() const {
  std::lock_guard lock(mutex_);
  return reason_;
}
absl::Status Outcome::status() const {
  std::lock_guard lock(mutex_);
  return status_;
}
Usage Outcome::usage() const {
  std::lock_guard lock(mutex_);
  return usage_;
}
bool Outcome::WaitFinished() const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::seconds(30), [this] { return num_finishes_ > 0; });
}
bool Outcome::WaitTokens(size_t count) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::seconds(30), [&] {
    return events_.size() >= count || num_finishes_ > 0;
  }) && events_.size() >= count;
}

void RecordingSink::OnToken(const TokenEvent& event) {
  std::lock_guard lock(outcome_->mutex_);
  TESSERA_CHECK(outcome_->num_finishes_ == 0) << "a token after the end";
  outcome_->events_.push_back(event);
  outcome_->changed_.notify_all();
}

void RecordingSink::OnFinish(FinishReason reason, const absl::Status& status, const Usage& usage) {
  std::lock_guard lock(outcome_->mutex_);
  ++outcome_->num_finishes_;
  outcome_->reason_ = reason;
  outcome_->status_ = status;
  outcome_->usage_ = usage;
  outcome_->changed_.notify_all();
}

Harness::Harness(EngineOptions options, FakeModelOptions model_options) : model(model_options) {
  absl::StatusOr<std::unique_ptr<Engine>> created = Engine::Create(model, options, clock);
  TESSERA_CHECK(created.ok()) << created.status().ToString();
  engine = *std::move(created);
}

std::shared_ptr<Outcome> Harness::Submit(GenerationRequest request) {
  auto outcome = std::make_shared<Outcome>();
  refusal = engine->Submit(std::move(request), std::make_unique<RecordingSink>(outcome));
  return refusal.ok() ? outcome : nullptr;
}

bool Harness::RunDry(int64_t limit) {
  for (int64_t i = 0; i < limit; ++i) {
    engine->StepForTest();
    const EngineSnapshot snapshot = engine->Snapshot();
    if (snapshot.running_requests + snapshot.queued_requests == 0) return true;
  }
  return false;
}

EngineOptions OptionsWith(int64_t num_blocks, int64_t block_size_tokens) {
  EngineOptions options;
  options.kv_block_size_tokens = block_size_tokens;
  options.kv_cache_bytes = num_blocks * block_size_tokens * kBlockBytes;
  return options;
}

GenerationRequest TextRequest(const std::string& id, std::vector<int32_t> prompt,
                              int64_t max_tokens) {
  GenerationRequest request;
  request.id = RequestId(id);
  request.num_prompt_tokens = static_cast<int64_t>(prompt.size());
  request.token_ids = std::move(prompt);
  request.sampling.max_tokens = max_tokens;
  return request;
}

GenerationRequest RandomRequest(const std::string& id, std::mt19937& random) {
  // A few families of prompts, each a prefix of one long text: the prefix cache meets hits.
  const uint32_t family = random() % 4;
  const int64_t length = 1 + random() % 60;
  std::vector<int32_t> prompt;
  for (int64_t i = 0; i < length; ++i) {
    prompt.push_back(static_cast<int32_t>(2 + (family * 31 + i * 7) % 90));
  }
  if (random() % 3 == 0) prompt.back() = static_cast<int32_t>(2 + random() % 90);
  GenerationRequest request = TextRequest(id, std::move(prompt), 1 + random() % 30);
  for (int64_t at = static_cast<int64_t>(random() % 10); random() % 2 == 0;) {
    PromptImage image = FakeImage(at, 1 + random() % 2, 1 + random() % 3, random() % 3);
    if (at + image.num_tokens > length) break;
    std::fill_n(request.token_ids.begin() + at, image.num_tokens, FakeModel::kImageToken);
    at += image.num_tokens + static_cast<int64_t>(random() % 5);
    request.images.push_back(std::move(image));
  }
  if (random() % 2 == 0) request.stop_token_ids = {5, 17, 40};
  SamplingParams& sampling = request.sampling;
  sampling.ignore_eos = random() % 4 == 0;
  sampling.min_tokens = random() % (sampling.max_tokens + 1);
  if (random() % 2 == 0) sampling.temperature = 0.8;
  if (random() % 2 == 0) sampling.top_k = 20;
  if (random() % 2 == 0) sampling.top_p = 0.9;
  if (random() % 3 == 0) sampling.repetition_penalty = 1.2;
  if (random() % 3 == 0) sampling.frequency_penalty = 0.4;
  sampling.seed = random();
  return request;
}

}  // namespace tessera::engine::testing
