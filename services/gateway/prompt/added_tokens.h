// Cuts added tokens (such as <image>) out of raw text before the rest is encoded.
#ifndef TESSERA_SERVICES_GATEWAY_PROMPT_ADDED_TOKENS_H_
#define TESSERA_SERVICES_GATEWAY_PROMPT_ADDED_TOKENS_H_

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace tessera::prompt {

// Finds texts leftmost first, and of those that start at the same byte the longest. Immutable once
// filled; thread safe then.
class AddedTokenMatcher {
 public:
  struct Match {
    size_t begin = 0;  // byte offset
    size_t end = 0;    // exclusive
    int32_t id = -1;   // -1: no match
  };

  // content is not empty. A second id for the same content replaces the first.
  void Add(std::string_view content, int32_t id);

  // The first match that starts at `from` or later.
  Match Find(std::string_view text, size_t from) const;

 private:
  std::array<bool, 256> starts_{};                    // is there a token with this first byte
  std::vector<int32_t> ids_ = {-1};                   // per node: the token that ends there, or -1
  absl::flat_hash_map<uint64_t, uint32_t> children_;  // node * 256 + byte → node
};

// A stretch of text: an added token (id ≥ 0), or text to encode (id -1).
struct TextSpan {
  std::string_view text;
  int32_t id = -1;
};

// Splits by `first`, then what is left between by `second` (golden README, point 3). Empty text
// between matches is left out.
std::vector<TextSpan> SplitByAddedTokens(std::string_view text, const AddedTokenMatcher& first,
                                         const AddedTokenMatcher& second);

}  // namespace tessera::prompt

#endif  // TESSERA_SERVICES_GATEWAY_PROMPT_ADDED_TOKENS_H_
