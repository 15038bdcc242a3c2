#include "services/gateway/prompt/prompt.h"

#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/check.h"
#include "services/base/status_macros.h"
#include "services/gateway/prompt/conversation.h"
#include "services/gateway/prompt/model_files.h"
#include "services/gateway/prompt/processor_config.h"

namespace tessera::prompt {
namespace {

// Everything that the worker's embedding of an image depends on, and the tenant that may share it.
Digest ImageIdentity(const Image& image, const TileGeometry& geometry, bool cropping,
                     const Digest& model_revision, std::string_view tenant_salt) {
  Sha256Fields fields;
  fields.Add(std::string_view(reinterpret_cast<const char*>(image.rgb.data()), image.rgb.size()));
  fields.Add(static_cast<uint64_t>(image.width)).Add(static_cast<uint64_t>(image.height));
  fields.Add("RGB");
  fields.Add(static_cast<uint64_t>(geometry.image_size));
  fields.Add(static_cast<uint64_t>(geometry.patch_size));
  fields.Add(static_cast<uint64_t>(geometry.downsample_ratio));
  fields.Add(static_cast<uint64_t>(geometry.candidate_resolutions.size()));
  for (const auto& [width, height] : geometry.candidate_resolutions) {
    fields.Add(static_cast<uint64_t>(width)).Add(static_cast<uint64_t>(height));
  }
  fields.Add(static_cast<uint64_t>(cropping ? 1 : 0));
  fields.Add(std::string_view(reinterpret_cast<const char*>(model_revision.data()),
                              model_revision.size()));
  fields.Add(tenant_salt);
  return fields.Finish();
}

absl::StatusOr<Digest> ModelRevision(const std::string& model_dir) {
  Sha256Fields fields;
  for (const char* name :
       {"config.json", "processor_config.json", "tokenizer.json", "model.safetensors.index.json"}) {
    absl::StatusOr<std::string> content = ReadModelFile(model_dir, name);
    if (absl::IsNotFound(content.status())) continue;
    if (!content.ok()) return content.status();
    fields.Add(std::string_view(name)).Add(std::string_view(*content));
  }
  return fields.Finish();
}

absl::Status CheckImage(size_t index, const Image& image) {
  if (image.width < 1 || image.height < 1 ||
      image.rgb.size() !=
          static_cast<uint64_t>(image.width) * static_cast<uint64_t>(image.height) * 3) {
    return absl::InvalidArgumentError(absl::StrCat(
        "images[", index, "]: ", image.rgb.size(), " bytes of pixels do not make a picture of ",
        image.width, " x ", image.height, " RGB pixels"));
  }
  return absl::OkStatus();
}

class OfficialPromptProcessor final : public PromptProcessor {
 public:
  OfficialPromptProcessor(std::unique_ptr<Tokenizer> tokenizer, TileGeometry geometry,
                          Digest model_revision)
      : tokenizer_(std::move(tokenizer)),
        geometry_(std::move(geometry)),
        model_revision_(model_revision) {}

  absl::StatusOr<PreparedPrompt> Prepare(const Conversation& conversation,
                                         const PrepareOptions& options) const override {
    TESSERA_ASSIGN_OR_RETURN(const ConversationParts read,
                             ReadConversation(tokenizer_->special(), conversation));
    std::vector<int64_t> image_tokens;
    for (const size_t index : read.images) {
      const Image& image = *conversation.images[index];
      TESSERA_RETURN_IF_ERROR(CheckImage(index, image));
      image_tokens.push_back(NumImageTokens(
          geometry_, ChooseGrid(geometry_, image.width, image.height, read.cropping)));
    }
    TESSERA_ASSIGN_OR_RETURN(EncodedParts encoded,
                             EncodeParts(*tokenizer_, read.parts, image_tokens));
    const auto num_tokens = static_cast<int64_t>(encoded.ids.size());
    if (options.max_prompt_tokens > 0 && num_tokens > options.max_prompt_tokens) {
      return absl::InvalidArgumentError(absl::StrCat("the prompt has ", num_tokens,
                                                     " tokens, more than the limit of ",
                                                     options.max_prompt_tokens));
    }
    PreparedPrompt prompt;
    prompt.token_ids = std::move(encoded.ids);
    for (size_t i = 0; i < read.images.size(); ++i) {
      const size_t index = read.images[i];
      TESSERA_ASSIGN_OR_RETURN(PreparedImage image, PrepareImage(index, *conversation.images[index],
                                                                 read.cropping, options));
      image.first_token = encoded.image_starts[i];
      TESSERA_CHECK(image.num_tokens == image_tokens[i]) << "grid differs from the tiles";
      prompt.num_image_tokens += image.num_tokens;
      prompt.images.push_back(std::move(image));
    }
    return prompt;
  }

  const Tokenizer& tokenizer() const override { return *tokenizer_; }
  const TileGeometry& geometry() const override { return geometry_; }
  const Digest& model_revision() const override { return model_revision_; }

 private:
  absl::StatusOr<PreparedImage> PrepareImage(size_t index, const Image& image, bool cropping,
                                             const PrepareOptions& options) const {
    absl::StatusOr<TiledImage> tiles = TileImage(geometry_, image, cropping);
    if (!tiles.ok()) {
      return absl::Status(tiles.status().code(),
                          absl::StrCat("images[", index, "]: ", tiles.status().message()));
    }
    PreparedImage prepared;
    prepared.tiles = *std::move(tiles);
    prepared.num_tokens = NumImageTokens(geometry_, prepared.tiles.grid);
    prepared.identity =
        ImageIdentity(image, geometry_, cropping, model_revision_, options.tenant_salt);
    prepared.width_pixels = image.width;
    prepared.height_pixels = image.height;
    return prepared;
  }

  const std::unique_ptr<Tokenizer> tokenizer_;
  const TileGeometry geometry_;
  const Digest model_revision_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PromptProcessor>> PromptProcessor::Load(
    const std::string& model_dir) {
  TESSERA_RETURN_IF_ERROR(ReadModelFile(model_dir, "config.json").status());
  TESSERA_ASSIGN_OR_RETURN(const std::string config,
                           ReadModelFile(model_dir, "processor_config.json"));
  TESSERA_ASSIGN_OR_RETURN(TileGeometry geometry, ParseProcessorConfig(config));
  TESSERA_ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer, Tokenizer::Load(model_dir));
  TESSERA_ASSIGN_OR_RETURN(const Digest revision, ModelRevision(model_dir));
  return std::make_unique<OfficialPromptProcessor>(std::move(tokenizer), std::move(geometry),
                                                   revision);
}

}  // namespace tessera::prompt
