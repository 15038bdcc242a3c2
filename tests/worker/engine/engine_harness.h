// An engine over the fake model, and sinks that record.
#ifndef TESSERA_TESTS_WORKER_ENGINE_ENGINE_HARNESS_H_
#define TESSERA_TESTS_WORKER_ENGINE_ENGINE_HARNESS_H_

#include <condition_variable>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "tests/support/fake_clock.h"
#include "tests/worker/engine/fake_model.h"
#include "worker/engine/engine.h"

namespace tessera::engine::testing {

// What one sink has received. Shared with the sink, which the engine owns. Thread safe.
class Outcome {
 public:
  std::vector<int32_t> tokens() const;
  std::vector<TokenEvent> events() const;
  int num_finishes() const;
  bool finished() const { return num_finishes() > 0; }
  FinishReason reason() const;
  absl::Status status() const;
  Usage usage() const;
  // False: it did not finish (or gain so many tokens) in 30 s.
  bool WaitFinished() const;
  bool WaitTokens(size_t count) const;

 private:
  friend class RecordingSink;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::vector<TokenEvent> events_;
  int num_finishes_ = 0;
  FinishReason reason_ = FinishReason::kError;
  absl::Status status_;
  Usage usage_;
};

class RecordingSink final : public EventSink {
 public:
  explicit RecordingSink(std::shared_ptr<Outcome> outcome) : outcome_(std::move(outcome)) {}
  void OnToken(const TokenEvent& event) override;
  void OnFinish(FinishReason reason, const absl::Status& status, const Usage& usage) override;

 private:
  std::shared_ptr<Outcome> outcome_;
};

constexpr int64_t kBlockBytes = 2 * 2 * 4;  // of one token, all layers

struct Harness {
  explicit Harness(EngineOptions options, FakeModelOptions model_options = {});

  // Null if the engine refuses; the reason is in `refusal`.
  std::shared_ptr<Outcome> Submit(GenerationRequest request);
  // Steps on this thread until nothing is left, at most `limit` times. False: the limit was met.
  bool RunDry(int64_t limit = 100'000);

  FakeModel model;
  tessera::testing::FakeClock clock;
  std::unique_ptr<Engine> engine;
  absl::Status refusal;
};

// Options with a KV cache of so many blocks.
EngineOptions OptionsWith(int64_t num_blocks, int64_t block_size_tokens);

GenerationRequest TextRequest(const std::string& id, std::vector<int32_t> prompt,
                              int64_t max_tokens);

// A request of random shape: prompts that share prefixes with others of the family, pictures, all
// kinds of sampling. Needs at most 100 tokens of context.
GenerationRequest RandomRequest(const std::string& id, std::mt19937& random);

}  // namespace tessera::engine::testing

#endif  // TESSERA_TESTS_WORKER_ENGINE_ENGINE_HARNESS_H_
