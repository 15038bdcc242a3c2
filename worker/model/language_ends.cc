#include "worker/model/language_ends.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

namespace tessera::model {
namespace {

using kernels::ConstMat;
using kernels::Mat;

// Rows of logits that a probe sees at once: a whole prompt's would be larger than its weights.
constexpr int64_t kLogitRowsPerSlice = 64;

bool IsFiniteRow(const float* row, int64_t cols) {
  uint32_t any = 0;
  for (int64_t i = 0; i < cols; ++i) {
    uint32_t bits;
    std::memcpy(&bits, row + i, sizeof bits);
    any |= static_cast<uint32_t>((bits & 0x7f800000u) == 0x7f800000u);
  }
  return any == 0;
}

absl::Status CheckFinite(ConstMat logits, absl::Span<const int32_t> sequence_of) {
  for (int64_t row = 0; row < logits.rows; ++row) {
    if (IsFiniteRow(logits.row(row), logits.cols)) continue;
    const int32_t sequence = sequence_of[static_cast<size_t>(row)];
    absl::Status status =
        absl::InternalError(absl::StrCat("step: sequence ", sequence, ": a logit is not finite"));
    status.SetPayload(kSequenceIndexPayload, absl::Cord(absl::StrCat(sequence)));
    return status;
  }
  return absl::OkStatus();
}

}  // namespace

LanguageEnds::LanguageEnds(const LanguageConfig& config, const EndWeights& weights,
                           const ComputeContext& context, Activations* activations)
    : config_(config), weights_(weights), context_(context), activations_(activations) {}

void LanguageEnds::Embed(absl::Span<const StepSequence> sequences, const StepBatch& batch,
                         Mat hidden) {
  if (hidden.rows == 0) return;
  token_ids_.clear();
  for (const StepSequence& sequence : sequences)
    token_ids_.insert(token_ids_.end(), sequence.token_ids.begin(), sequence.token_ids.end());
  context_.table->gather_rows(*context_.stream, weights_.embedding.data, weights_.embedding.dtype,
                              token_ids_.data(), hidden.rows, hidden);
  for (size_t i = 0; i < sequences.size(); ++i) {
    for (const EmbeddingSpan& image : sequences[i].images) {
      for (int64_t row = 0; row < image.features.rows; ++row) {
        std::copy_n(image.features.row(row), hidden.cols,
                    hidden.row(batch.sequences[i].first_row + image.first_row + row));
      }
    }
  }
}

Mat LanguageEnds::FinalNorm(ConstMat hidden) {
  const Mat normed = activations_->normed.Get(hidden.rows, hidden.cols);
  context_.table->rms_norm(*context_.stream, hidden, weights_.final_norm.data(),
                           static_cast<float>(config_.rms_norm_eps), normed);
  return normed;
}

void LanguageEnds::Head(ConstMat normed, Mat logits) {
  const kernels::GemmItem item{normed, nullptr, &weights_.lm_head, nullptr, logits};
  context_.table->gemm(*context_.stream, context_.compute, &item, 1);
}

absl::Status LanguageEnds::Logits(ConstMat hidden, absl::Span<const int32_t> sequence_of,
                                  Mat logits) {
  if (hidden.cols != config_.hidden_size || logits.rows != hidden.rows ||
      (logits.rows > 0 && logits.cols != config_.vocab_size) ||
      static_cast<int64_t>(sequence_of.size()) != hidden.rows) {
    return absl::InvalidArgumentError(absl::StrCat(
        "step: logits are [", logits.rows, ", ", logits.cols, "] of ", sequence_of.size(),
        " sequences; must be [", hidden.rows, ", ", config_.vocab_size, "]"));
  }
  if (hidden.rows == 0) return absl::OkStatus();
  Head(FinalNorm(hidden), logits);
  return CheckFinite(logits, sequence_of);
}

void LanguageEnds::Show(ConstMat hidden, ForwardProbe& probe) {
  const Mat normed = FinalNorm(hidden);
  probe.OnFinalNorm(normed);
  if (!probe.WantsAllLogits()) return;
  for (int64_t first = 0; first < normed.rows; first += kLogitRowsPerSlice) {
    const int64_t count = std::min(kLogitRowsPerSlice, normed.rows - first);
    const Mat logits = activations_->logits.Get(count, config_.vocab_size);
    Head(normed.row_range(first, count), logits);
    probe.OnAllLogits(first, logits);
  }
}

}  // namespace tessera::model
