#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "worker/kv/kv.h"

namespace tessera::kv {
namespace {

Digest Identity(uint8_t fill) {
  Digest digest;
  digest.fill(fill);
  return digest;
}

TEST(BlockHash, IsAFunctionOfItsContent) {
  const std::vector<int32_t> tokens = {1, 2, 3, 4};
  const BlockContent content{tokens, {{-2, Identity(7)}}, 1};
  EXPECT_EQ(HashBlock(RootHash("tenant"), content), HashBlock(RootHash("tenant"), content));
}

TEST(BlockHash, DiffersInEachPartOfTheContent) {
  const std::vector<int32_t> tokens = {1, 2, 3, 4};
  const std::vector<int32_t> other_tokens = {1, 2, 3, 5};
  const std::vector<int32_t> short_tokens = {1, 2, 3};
  const Digest root = RootHash("");
  std::set<Digest> seen;
  seen.insert(HashBlock(root, {tokens, {}, 0}));
  seen.insert(HashBlock(RootHash("tenant"), {tokens, {}, 0}));
  seen.insert(HashBlock(Identity(1), {tokens, {}, 0}));
  seen.insert(HashBlock(root, {other_tokens, {}, 0}));
  seen.insert(HashBlock(root, {short_tokens, {}, 0}));
  seen.insert(HashBlock(root, {tokens, {}, 1}));  // the role of a token counts
  seen.insert(HashBlock(root, {tokens, {}, 4}));
  seen.insert(HashBlock(root, {tokens, {{0, Identity(1)}}, 0}));
  seen.insert(HashBlock(root, {tokens, {{0, Identity(2)}}, 0}));
  seen.insert(HashBlock(root, {tokens, {{1, Identity(1)}}, 0}));   // another place
  seen.insert(HashBlock(root, {tokens, {{-1, Identity(1)}}, 0}));  // another part of the picture
  seen.insert(HashBlock(root, {tokens, {{0, Identity(1)}, {2, Identity(1)}}, 0}));
  EXPECT_EQ(seen.size(), 12u);
}

}  // namespace
}  // namespace tessera::kv
