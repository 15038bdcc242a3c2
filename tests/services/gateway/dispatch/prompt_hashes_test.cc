#include "services/gateway/dispatch/prompt_hashes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "services/base/kv_block_hash.h"
#include "tessera/v1/worker.pb.h"

namespace tessera::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

Digest Identity(uint8_t value) {
  Digest identity;
  identity.fill(value);
  return identity;
}

void AddImage(v1::PreparedPrompt& prompt, int32_t first_token, int32_t num_tokens, uint8_t value) {
  v1::PromptImage& image = *prompt.add_images();
  image.set_first_token(first_token);
  image.set_num_tokens(num_tokens);
  const Digest identity = Identity(value);
  image.set_identity(identity.data(), identity.size());
}

v1::PreparedPrompt Prompt(int32_t num_tokens) {
  v1::PreparedPrompt prompt;
  for (int32_t i = 0; i < num_tokens; ++i) prompt.add_token_ids(100 + i);
  return prompt;
}

Digest Block(const Digest& parent, const std::vector<int32_t>& ids,
             std::vector<std::pair<int64_t, Digest>> images, int64_t num_generated_tokens) {
  kv::BlockContent content;
  content.token_ids = ids;
  content.images = std::move(images);
  content.num_generated_tokens = num_generated_tokens;
  return kv::HashBlock(parent, content);
}

std::vector<uint64_t> Copy(absl::Span<const uint64_t> hashes) {
  return {hashes.begin(), hashes.end()};
}

// The blocks as worker/engine makes them, written out by hand.
TEST(PromptHashes, AreThoseOfTheWorkersEngine) {
  v1::PreparedPrompt prompt = Prompt(10);
  prompt.set_cache_salt("tenant");
  AddImage(prompt, 2, 5, 1);  // tokens 2 to 6
  AddImage(prompt, 7, 2, 2);  // tokens 7 and 8
  const std::vector<int32_t> generated = {7, 8, 9};
  const Digest first = Block(kv::RootHash("tenant"), {100, 101, 102, 103}, {{2, Identity(1)}}, 0);
  const Digest second =
      Block(first, {104, 105, 106, 107}, {{-2, Identity(1)}, {3, Identity(2)}}, 0);
  const Digest third = Block(second, {108, 109, 7, 8}, {{-1, Identity(2)}}, 2);
  PromptHashes hashes;
  EXPECT_THAT(Copy(hashes.Of(prompt, generated, 4)),
              ElementsAre(kv::ShortHash(first), kv::ShortHash(second), kv::ShortHash(third)))
      << "the last token fills no block";
}

TEST(PromptHashes, GrowWithTheAnswerAsIfComputedAnew) {
  const v1::PreparedPrompt prompt = Prompt(6);
  std::vector<int32_t> generated;
  PromptHashes hashes;
  EXPECT_EQ(hashes.Of(prompt, generated, 4).size(), 1u);
  for (int32_t i = 0; i < 9; ++i) {
    generated.push_back(i);
    EXPECT_THAT(Copy(hashes.Of(prompt, generated, 4)),
                ElementsAreArray(Copy(PromptHashes().Of(prompt, generated, 4))));
  }
  EXPECT_EQ(hashes.Of(prompt, generated, 4).size(), 3u);
  EXPECT_THAT(Copy(hashes.Of(prompt, generated, 5)),
              ElementsAreArray(Copy(PromptHashes().Of(prompt, generated, 5))));
}

TEST(PromptHashes, TellRolesPicturesAndTenantsApart) {
  const v1::PreparedPrompt whole = Prompt(8);
  const v1::PreparedPrompt half = Prompt(4);
  const auto of = [](const v1::PreparedPrompt& prompt, const std::vector<int32_t>& generated) {
    return Copy(PromptHashes().Of(prompt, generated, 4));
  };
  const std::vector<uint64_t> as_prompt = of(whole, {});
  const std::vector<uint64_t> as_answer = of(half, {104, 105, 106, 107});
  EXPECT_EQ(as_prompt[0], as_answer[0]);
  EXPECT_NE(as_prompt[1], as_answer[1]);
  v1::PreparedPrompt picture = whole;
  AddImage(picture, 4, 2, 1);
  v1::PreparedPrompt other_picture = whole;
  AddImage(other_picture, 4, 2, 2);
  EXPECT_EQ(of(picture, {})[0], as_prompt[0]);
  EXPECT_NE(of(picture, {})[1], as_prompt[1]);
  EXPECT_NE(of(picture, {})[1], of(other_picture, {})[1]);
  v1::PreparedPrompt salted = whole;
  salted.set_cache_salt("tenant");
  EXPECT_NE(of(salted, {})[0], as_prompt[0]);
}

TEST(PromptHashes, AreBoundedAndNoneWithoutABlockSize) {
  const v1::PreparedPrompt prompt = Prompt(5000);
  PromptHashes hashes;
  EXPECT_TRUE(hashes.Of(prompt, {}, 0).empty());
  EXPECT_EQ(hashes.Of(prompt, {}, 1).size(), 4096u);
  EXPECT_EQ(hashes.Of(prompt, {}, 5000).size(), 1u);
  EXPECT_TRUE(hashes.Of(prompt, {}, 5001).empty());
}

}  // namespace
}  // namespace tessera::gateway
