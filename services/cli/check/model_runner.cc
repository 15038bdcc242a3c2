#include "services/cli/check/model_runner.h"

#include <algorithm>
#include <utility>

#include "services/base/status_macros.h"

namespace tessera::check {

KvPages::KvPages(const model::KvLayout& layout, int64_t num_blocks, int64_t block_size_tokens)
    : block_size_tokens_(block_size_tokens) {
  const int64_t block_bytes = layout.BlockBytes(block_size_tokens);
  for (int64_t i = 0; i < layout.num_layers; ++i) {
    // A pattern that is a NaN in either dtype: reading a row before it was written cannot go
    // unnoticed.
    memory_.emplace_back(static_cast<size_t>(num_blocks * block_bytes), 0xff);
    layers_.push_back(
        {memory_.back().data(), layout.dtype, num_blocks, block_size_tokens, block_bytes});
  }
}

std::vector<model::EmbeddingSpan> ClipImages(absl::Span<const PromptImage> images, int64_t begin,
                                             int64_t end) {
  std::vector<model::EmbeddingSpan> spans;
  for (const PromptImage& image : images) {
    const int64_t first = std::max(begin, image.first_row);
    const int64_t last = std::min(end, image.first_row + image.features.rows);
    if (first >= last) continue;
    const kernels::ConstMat& all = image.features;
    spans.push_back(
        {first - begin, {all.row(first - image.first_row), last - first, all.cols, all.stride}});
  }
  return spans;
}

ModelRunner::ModelRunner(model::VlModel& model, int64_t max_tokens, int64_t block_size_tokens)
    : model_(model),
      pages_(model.kv_layout(), max_tokens / block_size_tokens + 2, block_size_tokens),
      logits_(static_cast<size_t>(model.config().language.vocab_size)) {
  // Odd numbers upwards, then even numbers downwards: no two neighbours of the sequence are
  // neighbours in memory.
  const auto blocks = static_cast<int32_t>(max_tokens / block_size_tokens + 2);
  for (int32_t block = 1; block < blocks; block += 2) block_table_.push_back(block);
  for (int32_t block = (blocks - 1) / 2 * 2; block >= 0; block -= 2) block_table_.push_back(block);
}

absl::Status ModelRunner::Step(absl::Span<const int32_t> ids,
                               std::vector<model::EmbeddingSpan> images, bool wants_logits,
                               model::ForwardProbe* probe) {
  model::StepSequence sequence;
  sequence.token_ids = ids;
  sequence.first_position = position_;
  sequence.block_table = block_table_;
  sequence.images = std::move(images);
  sequence.wants_logits = wants_logits;
  const auto vocab = static_cast<int64_t>(logits_.size());
  const kernels::Mat logits{logits_.data(), wants_logits ? 1 : 0, vocab, vocab};
  TESSERA_RETURN_IF_ERROR(
      model_.Forward(absl::MakeConstSpan(&sequence, 1), pages_.layers(), logits, probe));
  position_ += static_cast<int64_t>(ids.size());
  return absl::OkStatus();
}

absl::Status ModelRunner::Prefill(const Prompt& prompt, int64_t chunk_tokens,
                                  model::ForwardProbe* probe) {
  position_ = 0;
  const auto total = static_cast<int64_t>(prompt.ids.size());
  for (int64_t begin = 0; begin < total; begin += chunk_tokens) {
    const int64_t end = std::min(begin + chunk_tokens, total);
    const auto ids = absl::MakeConstSpan(prompt.ids)
                         .subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    TESSERA_RETURN_IF_ERROR(Step(ids, ClipImages(prompt.images, begin, end), end == total, probe));
  }
  return absl::OkStatus();
}

absl::Status ModelRunner::Decode(int32_t id) {
  return Step(absl::MakeConstSpan(&id, 1), {}, true, nullptr);
}

int32_t ArgMax(absl::Span<const float> values) {
  return static_cast<int32_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

}  // namespace tessera::check
