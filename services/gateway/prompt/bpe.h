// Byte pair encoding of one piece of text: the pair of lowest rank is merged first, the leftmost of
// equals.
#ifndef TESSERA_SERVICES_GATEWAY_PROMPT_BPE_H_
#define TESSERA_SERVICES_GATEWAY_PROMPT_BPE_H_

#include <array>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace tessera::prompt {

// Two neighbouring tokens and the token that they become.
struct BpeMerge {
  int32_t left = 0;
  int32_t right = 0;
  int32_t result = 0;
};

// Immutable after construction; thread safe.
class BpeModel {
 public:
  // byte_ids: the token of each single byte, or -1 where the vocabulary has none (such bytes are
  // dropped, as the reference does). merges: in rank order; of two equal pairs the later one
  // counts.
  BpeModel(const std::array<int32_t, 256>& byte_ids, const std::vector<BpeMerge>& merges);

  // Appends the piece's ids. O(n log n) in the piece's bytes.
  void Encode(std::string_view piece, std::vector<int32_t>* ids) const;

 private:
  static constexpr uint32_t kNoRank = std::numeric_limits<uint32_t>::max();
  static constexpr size_t kSmallPieceBytes = 48;

  struct Entry {
    uint32_t rank = kNoRank;
    int32_t result = -1;
  };

  Entry Find(int32_t left, int32_t right) const;
  void EncodeSmall(std::string_view piece, std::vector<int32_t>* ids) const;
  void EncodeLarge(std::string_view piece, std::vector<int32_t>* ids) const;

  std::array<int32_t, 256> byte_ids_;
  std::vector<Entry>
      byte_pairs_;  // [256, 256]: the first round's pairs, which are most of all look-ups
  absl::flat_hash_map<uint64_t, Entry> pairs_;
};

}  // namespace tessera::prompt

#endif  // TESSERA_SERVICES_GATEWAY_PROMPT_BPE_H_
