#include "worker/model/language_model.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "worker/model/local_expert_dispatch.h"

namespace tessera::model {
namespace {

using kernels::ConstMat;
using kernels::Mat;
using kernels::PagedKv;

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

absl::Status BadSequence(int64_t index, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("step: sequence ", index, ": ", what));
}

}  // namespace

LanguageModel::LanguageModel(const LanguageConfig& config, const LanguageWeights& weights,
                             const ComputeContext& context)
    : config_(config),
      weights_(weights),
      context_(context),
      rotary_(config),
      dispatch_(
          std::make_unique<LocalExpertDispatch>(context, config.n_routed_experts.value_or(0))) {
  layers_.reserve(weights.layers.size());
  for (const DecoderLayerWeights& layer : weights.layers) {
    layers_.emplace_back(config, layer, context, rotary_.view(), dispatch_.get(), &activations_);
  }
}

KvLayout LanguageModel::kv_layout() const {
  KvLayout layout;
  layout.dtype =
      context_.compute == kernels::Compute::kF32 ? kernels::DType::kF32 : kernels::DType::kBF16;
  layout.num_layers = config_.num_hidden_layers;
  layout.row_elements = config_.use_mla ? config_.kv_lora_rank + config_.qk_rope_head_dim
                                        : 2 * config_.num_key_value_heads * config_.head_dim();
  return layout;
}

absl::Status LanguageModel::Forward(absl::Span<const StepSequence> sequences,
                                    absl::Span<const PagedKv> layers, Mat logits,
                                    ForwardProbe* probe) {
  TESSERA_RETURN_IF_ERROR(Check(sequences, layers, logits));
  if (sequences.empty()) return absl::OkStatus();
  BuildBatch(sequences);
  Mat hidden = Embed(sequences);
  if (probe != nullptr) probe->OnInputEmbeddings(hidden);
  // A probe sees all rows to the end; otherwise the last layer drops those that no logits are asked
  // of.
  TESSERA_RETURN_IF_ERROR(
      RunLayers(layers, probe == nullptr ? &outputs_ : nullptr, probe, &hidden));
  if (hidden.rows == 0) return absl::OkStatus();
  const Mat normed = activations_.normed.Get(hidden.rows, hidden.cols);
  context_.table->rms_norm(*context_.stream, hidden, weights_.final_norm.data(),
                           static_cast<float>(config_.rms_norm_eps), normed);
  if (probe != nullptr) {
    probe->OnFinalNorm(normed);
    if (probe->WantsAllLogits()) ShowAllLogits(normed, probe);
  }
  if (outputs_.rows.empty()) return absl::OkStatus();
  ComputeLogits(normed, probe == nullptr ? nullptr : outputs_.rows.data(), logits);
  return CheckFinite(logits);
}

absl::Status LanguageModel::Check(absl::Span<const StepSequence> sequences,
                                  absl::Span<const PagedKv> layers, ConstMat logits) const {
  if (static_cast<int64_t>(layers.size()) != config_.num_hidden_layers) {
    return absl::InvalidArgumentError(absl::StrCat(
        "step: pages of ", layers.size(), " layers; the model has ", config_.num_hidden_layers));
  }
  const KvLayout layout = kv_layout();
  for (const PagedKv& pages : layers) {
    if (pages.dtype != layout.dtype || pages.block_size_tokens < 1 ||
        pages.block_bytes < layout.BlockBytes(pages.block_size_tokens)) {
      return absl::InvalidArgumentError(
          "step: the pages' dtype or block size is not that of kv_layout()");
    }
  }
  int64_t wanted = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    TESSERA_RETURN_IF_ERROR(CheckSequence(sequences[i], static_cast<int64_t>(i), layers.front()));
    wanted += sequences[i].wants_logits ? 1 : 0;
  }
  if (wanted > 0 && (logits.rows != wanted || logits.cols != config_.vocab_size)) {
    return absl::InvalidArgumentError(absl::StrCat("step: logits are [", logits.rows, ", ",
                                                   logits.cols, "]; must be [", wanted, ", ",
                                                   config_.vocab_size, "]"));
  }
  return absl::OkStatus();
}

absl::Status LanguageModel::CheckSequence(const StepSequence& sequence, int64_t index,
                                          const PagedKv& pages) const {
  const auto rows = static_cast<int64_t>(sequence.token_ids.size());
  if (rows == 0) return BadSequence(index, "has no token");
  if (sequence.first_position < 0 ||
      sequence.first_position > config_.max_position_embeddings - rows) {
    return BadSequence(index, absl::StrCat("positions ", sequence.first_position, " to ",
                                           sequence.first_position + rows - 1,
                                           "; must be below max_position_embeddings (",
                                           config_.max_position_embeddings, ")"));
  }
  for (const int32_t id : sequence.token_ids) {
    if (id < 0 || id >= config_.vocab_size) {
      return BadSequence(index,
                         absl::StrCat("token id ", id, "; must be in 0..", config_.vocab_size - 1));
    }
  }
  const int64_t blocks =
      (sequence.first_position + rows + pages.block_size_tokens - 1) / pages.block_size_tokens;
  if (static_cast<int64_t>(sequence.block_table.size()) < blocks) {
    return BadSequence(
        index, absl::StrCat(sequence.block_table.size(), " blocks; its positions need ", blocks));
  }
  for (const int32_t block : sequence.block_table.subspan(0, static_cast<size_t>(blocks))) {
    if (block < 0 || block >= pages.num_blocks) {
      return BadSequence(
          index, absl::StrCat("block id ", block, "; must be in 0..", pages.num_blocks - 1));
    }
  }
  int64_t end = 0;
  for (const EmbeddingSpan& image : sequence.images) {
    if (image.first_row < end || image.features.rows < 0 ||
        image.features.rows > rows - image.first_row) {
      return BadSequence(index, "image rows overlap, are not sorted, or leave the chunk");
    }
    if (image.features.cols != config_.hidden_size) {
      return BadSequence(index, absl::StrCat("image rows of width ", image.features.cols,
                                             "; must be ", config_.hidden_size));
    }
    end = image.first_row + image.features.rows;
  }
  return absl::OkStatus();
}

void LanguageModel::BuildBatch(absl::Span<const StepSequence> sequences) {
  token_ids_.clear();
  batch_.positions.clear();
  batch_.sequences.clear();
  outputs_ = {};
  for (size_t i = 0; i < sequences.size(); ++i) {
    const StepSequence& sequence = sequences[i];
    const int64_t first_row = batch_.rows();
    const auto rows = static_cast<int64_t>(sequence.token_ids.size());
    batch_.sequences.push_back(
        {first_row, rows, sequence.first_position, sequence.block_table.data()});
    token_ids_.insert(token_ids_.end(), sequence.token_ids.begin(), sequence.token_ids.end());
    for (int64_t row = 0; row < rows; ++row) {
      batch_.positions.push_back(static_cast<int32_t>(sequence.first_position + row));
    }
    if (!sequence.wants_logits) continue;
    const auto output_row = static_cast<int64_t>(outputs_.rows.size());
    outputs_.rows.push_back(static_cast<int32_t>(first_row + rows - 1));
    outputs_.sequences.push_back(static_cast<int32_t>(i));
    outputs_.batch.positions.push_back(batch_.positions.back());
    outputs_.batch.sequences.push_back(
        {output_row, 1, sequence.first_position + rows - 1, sequence.block_table.data()});
  }
}

Mat LanguageModel::Embed(absl::Span<const StepSequence> sequences) {
  const Mat hidden = activations_.hidden.Get(batch_.rows(), config_.hidden_size);
  context_.table->gather_rows(*context_.stream, weights_.embedding.data, weights_.embedding.dtype,
                              token_ids_.data(), batch_.rows(), hidden);
  for (size_t i = 0; i < sequences.size(); ++i) {
    for (const EmbeddingSpan& image : sequences[i].images) {
      for (int64_t row = 0; row < image.features.rows; ++row) {
        std::copy_n(image.features.row(row), hidden.cols,
                    hidden.row(batch_.sequences[i].first_row + image.first_row + row));
      }
    }
  }
  return hidden;
}

absl::Status LanguageModel::RunLayers(absl::Span<const PagedKv> layers, const OutputRows* outputs,
                                      ForwardProbe* probe, Mat* hidden) {
  for (size_t i = 0; i < layers_.size(); ++i) {
    const bool is_last = i + 1 == layers_.size();
    TESSERA_RETURN_IF_ERROR(
        layers_[i].Forward(batch_, is_last ? outputs : nullptr, layers[i], hidden));
    if (probe == nullptr) continue;
    if (layers_[i].is_moe()) {
      probe->OnRouter(static_cast<int64_t>(i), activations_.expert_ids,
                      activations_.expert_weights);
    }
    probe->OnLayerOutput(static_cast<int64_t>(i), *hidden);
  }
  return absl::OkStatus();
}

// rows: which rows of normed; null: all, in order.
void LanguageModel::ComputeLogits(ConstMat normed, const int32_t* rows, Mat logits) {
  const kernels::GemmItem item{normed, rows, &weights_.lm_head, nullptr, logits};
  context_.table->gemm(*context_.stream, context_.compute, &item, 1);
}

void LanguageModel::ShowAllLogits(ConstMat normed, ForwardProbe* probe) {
  for (int64_t first = 0; first < normed.rows; first += kLogitRowsPerSlice) {
    const int64_t count = std::min(kLogitRowsPerSlice, normed.rows - first);
    const Mat logits = activations_.logits.Get(count, config_.vocab_size);
    ComputeLogits({normed.row(first), count, normed.cols, normed.stride}, nullptr, logits);
    probe->OnAllLogits(first, logits);
  }
}

absl::Status LanguageModel::CheckFinite(ConstMat logits) const {
  for (int64_t row = 0; row < logits.rows; ++row) {
    if (!IsFiniteRow(logits.row(row), logits.cols)) {
      absl::Status status = absl::InternalError(
          absl::StrCat("step: sequence ", outputs_.sequences[row], ": a logit is not finite"));
      status.SetPayload(kSequenceIndexPayload, absl::Cord(absl::StrCat(outputs_.sequences[row])));
      return status;
    }
  }
  return absl::OkStatus();
}

}  // namespace tessera::model
