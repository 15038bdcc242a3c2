// From a conversation with pictures to what a worker needs: token ids, tiles, grids, identities.
// This is the module's one public header; tokenizer.h, image.h, tiler.h, … are its rooms.
//
// Everything is a pure function of the checkpoint folder's files and the conversation, and equals
// the official processor bit for bit.
#ifndef TESSERA_SERVICES_GATEWAY_PROMPT_PROMPT_H_
#define TESSERA_SERVICES_GATEWAY_PROMPT_PROMPT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "services/base/sha256.h"
#include "services/gateway/prompt/image.h"      // Image, DecodeImage, ImageLimits
#include "services/gateway/prompt/tiler.h"      // TiledImage, TileGeometry
#include "services/gateway/prompt/tokenizer.h"  // Tokenizer

namespace tessera::prompt {

enum class Role { kSystem, kUser, kAssistant };

// A message's content in order: text parts and image parts, interleaved as the caller likes.
struct ContentPart {
  enum class Kind { kText, kImage };
  Kind kind = Kind::kText;
  std::string text;        // kText: valid UTF-8
  size_t image_index = 0;  // kImage: index into Conversation::images
};

struct Message {
  Role role = Role::kUser;
  std::vector<ContentPart> content;
  // Role, begin, end and pad tokens in the text become these tokens. Off: they are encoded as plain
  // text, so that nobody forges a turn.
  // `<image>`, `<|ref|>`, `<|/ref|>`, `<|det|>`, `<|/det|>` and `<|grounding|>` are tokens either
  // way.
  bool allow_special_tokens = false;
};

// Two ways to say where an image stands, not mixed inside one message:
// - the message's text holds no `<image>`: each image part stands where it is (as `<image>`
// followed by nothing; a client that wants the
//   official look writes "\n" itself);
// - the message's text holds `<image>` placeholders: they consume the message's image parts in
// order, wherever those parts are, and the
//   counts must agree.
struct Conversation {
  std::vector<Message> messages;     // ends with a user message, or with an assistant message whose
                                     // text begins the answer
  std::vector<const Image*> images;  // what ContentPart::image_index points into; not owned
};

// One image as the worker gets it.
struct PreparedImage {
  TiledImage tiles;
  int64_t first_token = 0;  // index into token_ids of its first `<image>` id
  int64_t num_tokens = 0;   // golden README, point 20
  Digest
      identity{};  // of pixels, size, mode, preprocessing options, model revision and tenant salt
  int64_t width_pixels = 0;  // of the original picture
  int64_t height_pixels = 0;
};

struct PreparedPrompt {
  std::vector<int32_t> token_ids;
  std::vector<PreparedImage> images;
  int64_t num_image_tokens = 0;
};

struct PrepareOptions {
  std::string tenant_salt;        // part of each image's identity
  int64_t max_prompt_tokens = 0;  // 0: no bound; else INVALID_ARGUMENT that says both numbers
};

// Made once per checkpoint folder; thread safe.
class PromptProcessor {
 public:
  // Reads tokenizer.json, tokenizer_config.json, special_tokens_map.json, processor_config.json and
  // config.json of an official folder. NOT_FOUND: a missing file, by name; INVALID_ARGUMENT: what
  // is wrong in which file.
  static absl::StatusOr<std::unique_ptr<PromptProcessor>> Load(const std::string& model_dir);
  virtual ~PromptProcessor() = default;

  // INVALID_ARGUMENT: no messages, wrong order of roles, placeholder count differs from image count
  // (says both), `<image>` in an assistant or system message, invalid UTF-8 (says the message's
  // index and byte offset), an image whose aspect ratio leaves a side of 0.
  virtual absl::StatusOr<PreparedPrompt> Prepare(const Conversation& conversation,
                                                 const PrepareOptions& options) const = 0;

  virtual const Tokenizer& tokenizer() const = 0;
  virtual const TileGeometry& geometry() const = 0;
  // SHA-256 over config.json, processor_config.json, tokenizer.json and the checkpoint index: the
  // same on gateway and workers.
  virtual const Digest& model_revision() const = 0;
};

}  // namespace tessera::prompt

#endif  // TESSERA_SERVICES_GATEWAY_PROMPT_PROMPT_H_
