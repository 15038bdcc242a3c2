// Byte-level BPE of an official tokenizer.json (both DeepSeek pre-tokenizer families). Exact in
// both directions.
#ifndef TESSERA_SERVICES_GATEWAY_PROMPT_TOKENIZER_H_
#define TESSERA_SERVICES_GATEWAY_PROMPT_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace tessera::prompt {

// Ids of the tokens that the processor knows by name; the processor adds the missing ones at load
// (golden README, point 5).
struct SpecialTokens {
  int32_t bos = -1;
  int32_t eos = -1;
  int32_t pad = -1;
  int32_t image = -1;
  int32_t ref_open = -1;   // <|ref|>
  int32_t ref_close = -1;  // <|/ref|>
  int32_t det_open = -1;   // <|det|>
  int32_t det_close = -1;  // <|/det|>
  int32_t grounding = -1;  // <|grounding|>
  int32_t user = -1;       // <|User|>
  int32_t assistant = -1;  // <|Assistant|>
};

// Which added tokens are cut out of the text before BPE; the others are encoded as plain text.
enum class AddedTokens {
  kAll,        // as the reference tokenizer does
  kNoControl,  // all but role, begin, end, pad (and any other added token that is not <image>, ref,
               // det or grounding)
};

// Immutable after loading; thread safe.
class Tokenizer {
 public:
  // Reads tokenizer.json (and tokenizer_config.json, special_tokens_map.json) of a folder, then
  // adds what the processor adds. NOT_FOUND: no tokenizer.json; INVALID_ARGUMENT: names the key
  // that is missing, of a wrong kind or not supported.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::string& model_dir);
  // As above from text; the config may be empty (used by tests and the fuzzer).
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Parse(std::string_view tokenizer_json,
                                                          std::string_view tokenizer_config_json);
  virtual ~Tokenizer() = default;

  // text: valid UTF-8, else INVALID_ARGUMENT with the byte offset. No bos or eos is added.
  virtual absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                                      AddedTokens added) const = 0;

  // The raw bytes of one token (an added token gives its text). Empty for an id that is unknown:
  // ids past the vocabulary are possible.
  virtual std::string_view TokenBytes(int32_t id) const = 0;
  virtual bool IsSpecial(int32_t id) const = 0;  // skipped by skip_special decoding

  virtual const SpecialTokens& special() const = 0;
  virtual int32_t size() const = 0;  // one past the highest id, added tokens included
};

// All ids at once: bytes joined, then each maximal ill-formed part replaced by U+FFFD.
std::string Decode(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip_special);

}  // namespace tessera::prompt

#endif  // TESSERA_SERVICES_GATEWAY_PROMPT_TOKENIZER_H_
