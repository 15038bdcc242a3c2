#include "services/gateway/api/request_preparer.h"

#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/rpc/status_details.h"

namespace tessera::gateway {
namespace {

constexpr size_t kMaxCroppedImages = 2;

std::string_view Bytes(absl::string_view bytes) { return {bytes.data(), bytes.size()}; }

}  // namespace

absl::Status RequestPreparer::CheckHeaders(const ConversationInput& input,
                                           int64_t context_tokens) const {
  const prompt::TileGeometry& geometry = processor_.geometry();
  const bool cropping = input.images.size() <= kMaxCroppedImages;
  int64_t pixels = 0;
  int64_t tokens = 0;
  for (size_t i = 0; i < input.images.size(); ++i) {
    const auto header = prompt::ReadImageHeader(Bytes(input.images[i]), limits_.image);
    if (!header.ok()) return rpc::BadFieldError(input.image_fields[i], header.status().message());
    pixels += header->width * header->height;
    tokens += prompt::NumImageTokens(
        geometry, prompt::ChooseGrid(geometry, header->width, header->height, cropping));
  }
  if (pixels > limits_.max_request_pixels) {
    return rpc::BadFieldError(
        "messages", absl::StrCat("the pictures have ", pixels, " pixels together, the limit is ",
                                 limits_.max_request_pixels));
  }
  if (tokens >= context_tokens) {
    return rpc::BadFieldError("messages", absl::StrCat("the pictures alone make ", tokens,
                                                       " tokens, the context is ", context_tokens));
  }
  return absl::OkStatus();
}

absl::StatusOr<PreparedConversation> RequestPreparer::Prepare(
    const ConversationRequest& request, int64_t context_tokens,
    const std::function<bool()>& stopped) const {
  TESSERA_ASSIGN_OR_RETURN(const ConversationInput input,
                           ReadConversationRequest(request, limits_.max_images));
  TESSERA_RETURN_IF_ERROR(CheckHeaders(input, context_tokens));
  PreparedConversation result;
  std::vector<prompt::Image> images;
  for (size_t i = 0; i < input.images.size(); ++i) {
    if (stopped()) return absl::CancelledError("the call ended");
    absl::StatusOr<prompt::Image> image =
        prompt::DecodeImage(Bytes(input.images[i]), limits_.image);
    if (!image.ok()) return rpc::BadFieldError(input.image_fields[i], image.status().message());
    result.image_sizes.push_back({image->width, image->height});
    images.push_back(*std::move(image));
  }
  prompt::Conversation conversation;
  conversation.messages = input.messages;
  for (const prompt::Image& image : images) conversation.images.push_back(&image);
  prompt::PrepareOptions options;
  options.max_prompt_tokens = context_tokens - 1;
  if (stopped()) return absl::CancelledError("the call ended");
  absl::StatusOr<prompt::PreparedPrompt> prompt = processor_.Prepare(conversation, options);
  if (!prompt.ok()) return WithFieldPath(prompt.status(), input);
  for (const prompt::PreparedImage& image : prompt->images)
    result.num_tiles += image.tiles.num_tiles();
  result.prompt = *std::move(prompt);
  return result;
}

}  // namespace tessera::gateway
