// A toy VlModel that shows every mistake in what it is fed. Each token (or picture row) leaves a
// number in the KV pages; the logits of a row are a hash over what the pages hold for positions
// 0 … its own. So a wrong block table, chunk border, cached prefix or embedding row changes tokens.
#ifndef TESSERA_TESTS_WORKER_ENGINE_FAKE_MODEL_H_
#define TESSERA_TESTS_WORKER_ENGINE_FAKE_MODEL_H_

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "worker/engine/engine.h"
#include "worker/model/model.h"

namespace tessera::engine::testing {

struct FakeModelOptions {
  int64_t vocab_size = 97;
  int64_t context_tokens = 256;
};

class FakeModel final : public model::VlModel {
 public:
  static constexpr int64_t kHidden = 3;
  static constexpr int64_t kSide = 2;
  static constexpr int32_t kImageToken = 1;

  explicit FakeModel(const FakeModelOptions& options = {});

  const model::ModelConfig& config() const override { return config_; }
  model::KvLayout kv_layout() const override { return {kernels::DType::kF32, 2, 2}; }
  int64_t weight_bytes() const override { return 0; }
  int64_t NumImageTokens(int64_t tiles_across, int64_t tiles_down) const override {
    return 3 + 2 * tiles_across * tiles_down;
  }
  absl::Status EncodeImage(const model::ImageTiles& image, kernels::Mat features,
                           model::ForwardProbe* probe) override;
  absl::Status Forward(absl::Span<const model::StepSequence> sequences,
                       absl::Span<const kernels::PagedKv> layers, kernels::Mat logits,
                       model::ForwardProbe* probe) override;
  void SetKvObserver(model::KvObserver* observer) override { observer_ = observer; }

  // Hooks of the test; called on the engine's thread.
  std::function<absl::Status(absl::Span<const model::StepSequence>)> before_forward;
  std::function<absl::Status(int64_t layer)> after_layer;  // after the pages of the layer
  std::function<absl::Status(const model::ImageTiles&)> before_encode;

  // What was seen so far.
  std::atomic<int64_t> num_forwards{0};
  std::atomic<int64_t> num_encodings{0};
  std::atomic<int64_t> most_rows_in_step{0};
  std::atomic<int64_t> most_sequences_in_step{0};
  std::atomic<int64_t> num_rows{0};

 private:
  void WritePages(const model::StepSequence& sequence, const kernels::PagedKv& pages,
                  int64_t layer);
  model::ModelConfig config_;
  model::KvObserver* observer_ = nullptr;
};

// A picture of the fake model whose bytes follow from `seed`.
PromptImage FakeImage(int64_t first_token, int64_t tiles_across, int64_t tiles_down, uint8_t seed);

// The answer to a request, computed from its text alone: no pages, no chunks, no batch.
std::vector<int32_t> ExpectedAnswer(const GenerationRequest& request,
                                    const FakeModelOptions& options = {});

}  // namespace tessera::engine::testing

#endif  // TESSERA_TESTS_WORKER_ENGINE_FAKE_MODEL_H_
