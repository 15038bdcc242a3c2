#include "worker/model/step_check.h"

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"

namespace tessera::model {
namespace {

using kernels::PagedKv;

absl::Status BadSequence(int64_t index, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("step: sequence ", index, ": ", what));
}

absl::Status CheckPositions(const LanguageConfig& config, const StepSequence& sequence,
                            int64_t index) {
  const auto rows = static_cast<int64_t>(sequence.token_ids.size());
  if (rows == 0) return BadSequence(index, "has no token");
  if (sequence.first_position < 0 ||
      sequence.first_position > config.max_position_embeddings - rows) {
    return BadSequence(index, absl::StrCat("positions ", sequence.first_position, " to ",
                                           sequence.first_position + rows - 1,
                                           "; must be below max_position_embeddings (",
                                           config.max_position_embeddings, ")"));
  }
  for (const int32_t id : sequence.token_ids) {
    if (id < 0 || id >= config.vocab_size) {
      return BadSequence(index,
                         absl::StrCat("token id ", id, "; must be in 0..", config.vocab_size - 1));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckBlocks(const PagedKv& pages, const StepSequence& sequence, int64_t index) {
  const auto rows = static_cast<int64_t>(sequence.token_ids.size());
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
  return absl::OkStatus();
}

absl::Status CheckImages(int64_t hidden, const StepSequence& sequence, int64_t index) {
  const auto rows = static_cast<int64_t>(sequence.token_ids.size());
  int64_t end = 0;
  for (const EmbeddingSpan& image : sequence.images) {
    if (image.first_row < end || image.features.rows < 0 ||
        image.features.rows > rows - image.first_row) {
      return BadSequence(index, "image rows overlap, are not sorted, or leave the chunk");
    }
    if (image.features.cols != hidden) {
      return BadSequence(
          index, absl::StrCat("image rows of width ", image.features.cols, "; must be ", hidden));
    }
    end = image.first_row + image.features.rows;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckStep(const LanguageConfig& config, const KvLayout& layout,
                       absl::Span<const StepSequence> sequences, absl::Span<const PagedKv> layers) {
  if (static_cast<int64_t>(layers.size()) != layout.num_layers) {
    return absl::InvalidArgumentError(absl::StrCat("step: pages of ", layers.size(),
                                                   " layers; the model has ", layout.num_layers));
  }
  for (const PagedKv& pages : layers) {
    if (pages.dtype != layout.dtype || pages.block_size_tokens < 1 ||
        pages.block_bytes < layout.BlockBytes(pages.block_size_tokens)) {
      return absl::InvalidArgumentError(
          "step: the pages' dtype or block size is not that of kv_layout()");
    }
  }
  for (size_t i = 0; i < sequences.size(); ++i) {
    const auto index = static_cast<int64_t>(i);
    TESSERA_RETURN_IF_ERROR(CheckPositions(config, sequences[i], index));
    TESSERA_RETURN_IF_ERROR(CheckBlocks(layers.front(), sequences[i], index));
    TESSERA_RETURN_IF_ERROR(CheckImages(config.hidden_size, sequences[i], index));
  }
  return absl::OkStatus();
}

}  // namespace tessera::model
