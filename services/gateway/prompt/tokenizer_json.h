// Reads tokenizer.json and the names of the special tokens from the files beside it.
#ifndef TESSERA_SERVICES_GATEWAY_PROMPT_TOKENIZER_JSON_H_
#define TESSERA_SERVICES_GATEWAY_PROMPT_TOKENIZER_JSON_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "services/gateway/prompt/bpe.h"
#include "services/gateway/prompt/pre_tokenizer.h"

namespace tessera::prompt {

inline constexpr int32_t kMaxTokenId =
    1'000'000;  // exclusive; a bound on what a damaged file can make us allocate

struct AddedToken {
  int32_t id = -1;
  std::string content;
  bool normalized = false;  // found after all those that are not
  bool special = false;
};

struct TokenizerSpec {
  std::vector<std::string>
      token_bytes;  // [one past the highest vocabulary id]; empty for unused ids
  std::array<int32_t, 256> byte_ids{};  // the token of each single byte, -1: none
  std::vector<BpeMerge> merges;         // in rank order
  std::vector<AddedToken> added_tokens;
  std::vector<SplitRule> split_rules;
};

// INVALID_ARGUMENT: names the key that is missing, of a wrong kind, or of a value that is not
// supported.
absl::StatusOr<TokenizerSpec> ParseTokenizerJson(std::string_view json);

struct SpecialTokenNames {
  std::string bos = "<｜begin▁of▁sentence｜>";
  std::string eos = "<｜end▁of▁sentence｜>";
  std::string pad;  // empty: none is named, so the processor adds its own:
  std::string processor_pad = "<｜▁pad▁｜>";
};

// tokenizer_config.json counts before special_tokens_map.json; an empty text is a file that does
// not exist.
absl::StatusOr<SpecialTokenNames> ParseSpecialTokenNames(std::string_view tokenizer_config_json,
                                                         std::string_view special_tokens_map_json,
                                                         std::string_view processor_config_json);

}  // namespace tessera::prompt

#endif  // TESSERA_SERVICES_GATEWAY_PROMPT_TOKENIZER_JSON_H_
