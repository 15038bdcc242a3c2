#include "worker/engine/request_check.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/base/status_macros.h"
#include "worker/engine/batch_builder.h"

namespace tessera::engine {
namespace {

constexpr int64_t kMaxStopTokens = 1024;
constexpr int64_t kMaxTilesPerSide = 64;
constexpr size_t kMaxIdBytes = 512;
constexpr int32_t kMostPriority = 100;
constexpr absl::Duration kMaxLease = absl::Hours(1);

absl::Status CheckId(absl::string_view field, absl::string_view id) {
  if (!id.empty() && id.size() <= kMaxIdBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " has ", id.size(), " bytes, must have 1 to ", kMaxIdBytes));
}

absl::Status CheckIds(absl::string_view field, absl::Span<const int32_t> ids, int64_t vocab_size) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size) {
      return absl::InvalidArgumentError(
          absl::StrCat(field, "[", i, "] is ", ids[i], ", must be in [0, ", vocab_size, ")"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckImage(const PromptImage& image, absl::string_view field, int64_t first_allowed,
                        const GenerationRequest& request, bool may_lack_tiles,
                        const model::VlModel& model) {
  for (const auto& [name, tiles] :
       {std::pair{"tiles_across", image.tiles_across}, std::pair{"tiles_down", image.tiles_down}}) {
    if (tiles < 1 || tiles > kMaxTilesPerSide) {
      return absl::InvalidArgumentError(absl::StrCat(field, ".", name, " is ", tiles,
                                                     ", must be in [1, ", kMaxTilesPerSide, "]"));
    }
  }
  const int64_t side = model.config().vision.image_size;
  const int64_t bytes = (1 + image.tiles_across * image.tiles_down) * 3 * side * side;
  const bool lacks_tiles = may_lack_tiles && image.tiles.empty();
  if (!lacks_tiles && static_cast<int64_t>(image.tiles.size()) != bytes) {
    return absl::InvalidArgumentError(absl::StrCat(field, ".tiles has ", image.tiles.size(),
                                                   " bytes, must have ", bytes, " for this grid"));
  }
  const int64_t num_tokens = model.NumImageTokens(image.tiles_across, image.tiles_down);
  if (image.num_tokens != num_tokens) {
    return absl::InvalidArgumentError(absl::StrCat(field, ".num_tokens is ", image.num_tokens,
                                                   ", must be ", num_tokens, " for this grid"));
  }
  if (image.first_token < first_allowed ||
      image.first_token > request.num_prompt_tokens - num_tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, ".first_token is ", image.first_token, ", must be in [", first_allowed,
                     ", ", request.num_prompt_tokens - num_tokens,
                     "]: pictures lie in the prompt, apart and in order"));
  }
  return absl::OkStatus();
}

absl::Status CheckTokens(const GenerationRequest& request, const model::VlModel& model) {
  if (request.token_ids.empty()) {
    return absl::InvalidArgumentError("token_ids is empty, must have at least 1 token");
  }
  const auto num_tokens = static_cast<int64_t>(request.token_ids.size());
  if (request.num_prompt_tokens < 1 || request.num_prompt_tokens > num_tokens) {
    return absl::InvalidArgumentError(absl::StrCat(
        "num_prompt_tokens is ", request.num_prompt_tokens, ", must be in [1, ", num_tokens, "]"));
  }
  const model::LanguageConfig& language = model.config().language;
  const int64_t context = language.max_position_embeddings;
  const int64_t max_tokens = request.sampling.max_tokens;
  if (request.num_prompt_tokens > context || max_tokens > context - request.num_prompt_tokens) {
    return absl::InvalidArgumentError(absl::StrCat("the prompt's ", request.num_prompt_tokens,
                                                   " tokens and sampling.max_tokens = ", max_tokens,
                                                   " exceed the context of ", context, " tokens"));
  }
  if (num_tokens - request.num_prompt_tokens > max_tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("token_ids has ", num_tokens - request.num_prompt_tokens,
                     " generated tokens, must have at most sampling.max_tokens = ", max_tokens));
  }
  return CheckIds("token_ids", request.token_ids, language.vocab_size);
}

absl::Status CheckImages(const GenerationRequest& request, bool may_lack_tiles,
                         const model::VlModel& model) {
  int64_t first_allowed = 0;
  for (size_t i = 0; i < request.images.size(); ++i) {
    const PromptImage& image = request.images[i];
    TESSERA_RETURN_IF_ERROR(CheckImage(image, absl::StrCat("images[", i, "]"), first_allowed,
                                       request, may_lack_tiles, model));
    first_allowed = image.first_token + image.num_tokens;
  }
  return absl::OkStatus();
}

absl::Status CheckPriority(const GenerationRequest& request) {
  if (request.priority >= -kMostPriority && request.priority <= kMostPriority) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("priority is ", request.priority, ", must be in [",
                                                 -kMostPriority, ", ", kMostPriority, "]"));
}

absl::Status CheckHandoff(const GenerationRequest& request) {
  const auto num_tokens = static_cast<int64_t>(request.token_ids.size());
  if (request.kv_export_from < 0 || request.kv_export_from > num_tokens) {
    return absl::InvalidArgumentError(absl::StrCat("kv_export_from is ", request.kv_export_from,
                                                   ", must be in [0, ", num_tokens, "]"));
  }
  if (request.kv_lease.empty()) return absl::OkStatus();
  if (request.kv_export != nullptr) {
    return absl::InvalidArgumentError("kv_lease and kv_export are set, must be one of them");
  }
  if (num_tokens == request.num_prompt_tokens) {
    return absl::InvalidArgumentError(
        "token_ids has 0 generated tokens, must have at least 1 with kv_lease");
  }
  return absl::OkStatus();
}

absl::Status CheckFits(const GenerationRequest& request, int64_t kv_blocks_total,
                       int64_t block_size_tokens) {
  const int64_t kv_tokens = request.num_prompt_tokens + request.sampling.max_tokens - 1;
  const int64_t blocks = BlocksFor(kv_tokens, block_size_tokens);
  if (blocks <= kv_blocks_total) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("the request needs ", blocks, " KV blocks (",
                                                   kv_tokens, " tokens), the whole cache has ",
                                                   kv_blocks_total));
}

absl::Status CheckOption(absl::string_view name, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, " is ", value, ", must be in [", low, ", ", high, "]"));
}

}  // namespace

absl::Status CheckRequest(const GenerationRequest& request, const model::VlModel& model,
                          int64_t kv_blocks_total, int64_t block_size_tokens) {
  TESSERA_RETURN_IF_ERROR(CheckId("request_id", request.id.value()));
  TESSERA_RETURN_IF_ERROR(ValidateSamplingParams(request.sampling));
  TESSERA_RETURN_IF_ERROR(CheckTokens(request, model));
  if (request.stop_token_ids.size() > kMaxStopTokens) {
    return absl::InvalidArgumentError(absl::StrCat("stop_token_ids has ",
                                                   request.stop_token_ids.size(),
                                                   " ids, must have at most ", kMaxStopTokens));
  }
  TESSERA_RETURN_IF_ERROR(
      CheckIds("stop_token_ids", request.stop_token_ids, model.config().language.vocab_size));
  TESSERA_RETURN_IF_ERROR(CheckImages(request, !request.kv_lease.empty(), model));
  TESSERA_RETURN_IF_ERROR(CheckPriority(request));
  TESSERA_RETURN_IF_ERROR(CheckHandoff(request));
  return CheckFits(request, kv_blocks_total, block_size_tokens);
}

absl::Status CheckLeaseRequest(const std::string& id, const GenerationRequest& prompt,
                               absl::Duration lease, const model::VlModel& model,
                               int64_t kv_blocks_total, int64_t block_size_tokens) {
  TESSERA_RETURN_IF_ERROR(CheckId("handoff_id", id));
  if (lease <= absl::ZeroDuration() || lease > kMaxLease) {
    return absl::InvalidArgumentError(absl::StrCat("lease is ", absl::FormatDuration(lease),
                                                   ", must be in (0, ",
                                                   absl::FormatDuration(kMaxLease), "]"));
  }
  TESSERA_RETURN_IF_ERROR(ValidateSamplingParams(prompt.sampling));
  TESSERA_RETURN_IF_ERROR(CheckTokens(prompt, model));
  TESSERA_RETURN_IF_ERROR(CheckImages(prompt, /*may_lack_tiles=*/true, model));
  TESSERA_RETURN_IF_ERROR(CheckPriority(prompt));
  return CheckFits(prompt, kv_blocks_total, block_size_tokens);
}

absl::Status CheckOptions(const EngineOptions& options) {
  TESSERA_RETURN_IF_ERROR(
      CheckOption("kv_block_size_tokens", options.kv_block_size_tokens, 1, 1024));
  TESSERA_RETURN_IF_ERROR(
      CheckOption("kv_cache_bytes", options.kv_cache_bytes, 1, int64_t{1} << 46));
  TESSERA_RETURN_IF_ERROR(
      CheckOption("embedding_cache_bytes", options.embedding_cache_bytes, 0, int64_t{1} << 46));
  TESSERA_RETURN_IF_ERROR(CheckOption("max_batch_sequences", options.max_batch_sequences, 1, 4096));
  // Fewer rows than sequences would let the youngest ones starve.
  TESSERA_RETURN_IF_ERROR(CheckOption("max_step_tokens", options.max_step_tokens,
                                      options.max_batch_sequences, 1 << 20));
  TESSERA_RETURN_IF_ERROR(
      CheckOption("prefill_chunk_tokens", options.prefill_chunk_tokens, 1, 1 << 20));
  TESSERA_RETURN_IF_ERROR(
      CheckOption("max_queued_requests", options.max_queued_requests, 1, 1 << 20));
  if (options.no_progress_timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("no_progress_timeout must be positive");
  }
  return absl::OkStatus();
}

}  // namespace tessera::engine
