// Runs one prompt at a time through a model, with KV pages of its own whose blocks are deliberately
// out of order.
#ifndef TESSERA_SERVICES_CLI_CHECK_MODEL_RUNNER_H_
#define TESSERA_SERVICES_CLI_CHECK_MODEL_RUNNER_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "worker/model/model.h"

namespace tessera::check {

// Memory for KV pages of all layers.
class KvPages {
 public:
  KvPages(const model::KvLayout& layout, int64_t num_blocks, int64_t block_size_tokens);
  absl::Span<const kernels::PagedKv> layers() const { return layers_; }
  int64_t block_size_tokens() const { return block_size_tokens_; }

 private:
  int64_t block_size_tokens_;
  std::vector<std::vector<uint8_t>> memory_;
  std::vector<kernels::PagedKv> layers_;
};

// Rows [first_row, first_row + features.rows) of the prompt are an image's.
struct PromptImage {
  int64_t first_row = 0;
  kernels::ConstMat features;
};

struct Prompt {
  std::vector<int32_t> ids;
  std::vector<PromptImage> images;  // sorted
};

// The part of `images` inside rows [begin, end), as a step that starts at row `begin` wants it.
std::vector<model::EmbeddingSpan> ClipImages(absl::Span<const PromptImage> images, int64_t begin,
                                             int64_t end);

class ModelRunner {
 public:
  // Room for max_tokens positions. model outlives the runner.
  ModelRunner(model::VlModel& model, int64_t max_tokens, int64_t block_size_tokens);

  // Prefills the prompt in chunks of at most chunk_tokens and leaves the logits of the last row in
  // logits().
  absl::Status Prefill(const Prompt& prompt, int64_t chunk_tokens,
                       model::ForwardProbe* probe = nullptr);
  // One more token at the next position; logits() are then of this one.
  absl::Status Decode(int32_t id);
  absl::Span<const float> logits() const { return logits_; }

  // num_tokens more tokens; choose(logits, tokens so far) picks each.
  template <typename Choose>
  absl::StatusOr<std::vector<int32_t>> Generate(int64_t num_tokens, Choose&& choose) {
    std::vector<int32_t> tokens;
    for (int64_t i = 0; i < num_tokens; ++i) {
      tokens.push_back(choose(logits(), tokens));
      if (i + 1 == num_tokens) break;
      if (absl::Status status = Decode(tokens.back()); !status.ok()) return status;
    }
    return tokens;
  }

 private:
  absl::Status Step(absl::Span<const int32_t> ids, std::vector<model::EmbeddingSpan> images,
                    bool wants_logits, model::ForwardProbe* probe);

  model::VlModel& model_;
  KvPages pages_;
  std::vector<int32_t> block_table_;
  std::vector<float> logits_;
  int64_t position_ = 0;
};

// The index of the largest value; ties: the lowest index.
int32_t ArgMax(absl::Span<const float> values);

}  // namespace tessera::check

#endif  // TESSERA_SERVICES_CLI_CHECK_MODEL_RUNNER_H_
