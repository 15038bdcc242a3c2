#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/gateway/answer/answer.h"
#include "services/gateway/prompt/utf8.h"
#include "tests/support/golden_files.h"

namespace tessera::answer {
namespace {

using ::testing::ElementsAre;
using testing::GoldenPath;
using testing::ReadGoldenFileOrGz;

std::unique_ptr<prompt::Tokenizer> LoadTokenizer(const std::string& name) {
  const std::string folder = GoldenPath("tokenizers/" + name);
  return *prompt::Tokenizer::Parse(ReadGoldenFileOrGz(folder + "/tokenizer.json"),
                                   ReadGoldenFileOrGz(folder + "/tokenizer_config.json"));
}

class AnswerStreamTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { tokenizer_ = LoadTokenizer("small_v3").release(); }

  std::vector<int32_t> Encode(const std::string& text) {
    return *tokenizer_->Encode(text, prompt::AddedTokens::kAll);
  }

  static const prompt::Tokenizer* tokenizer_;
};
const prompt::Tokenizer* AnswerStreamTest::tokenizer_ =
    nullptr;  // shared by the suite, never freed

TEST_F(AnswerStreamTest, StreamsEqualTheGoldenDecoding) {
  for (const nlohmann::json& line :
       testing::ReadGoldenLines(GoldenPath("tokenizers/small_v3.stream.jsonl.gz"))) {
    const auto ids = line["ids"].get<std::vector<int32_t>>();
    AnswerStream stream(*tokenizer_, {});
    std::string text;
    std::vector<int32_t> returned;
    std::string expected_bytes;
    for (const int32_t id : ids) {
      const AnswerDelta delta = stream.Push(id);
      EXPECT_EQ(prompt::FindInvalidUtf8(delta.text), std::string::npos);
      text += delta.text;
      returned.insert(returned.end(), delta.token_ids.begin(), delta.token_ids.end());
      const prompt::SpecialTokens& special = tokenizer_->special();
      if (id != special.eos && id != special.bos && id != special.pad) {
        expected_bytes += tokenizer_->TokenBytes(id);
      }
    }
    const AnswerDelta end = stream.Finish();
    text += end.text;
    returned.insert(returned.end(), end.token_ids.begin(), end.token_ids.end());
    EXPECT_EQ(text, prompt::LossyUtf8(expected_bytes));
    EXPECT_EQ(returned, ids) << "every id comes back once, in order";
  }
}

TEST_F(AnswerStreamTest, StopsAcrossTokensAndReturnsAllIds) {
  AnswerOptions options;
  options.stop = {"two three"};
  AnswerStream stream(*tokenizer_, options);
  const std::vector<int32_t> ids = Encode("one two three four");
  std::string text;
  size_t pushed = 0;
  size_t returned = 0;
  bool stopped = false;
  for (const int32_t id : ids) {
    ++pushed;
    const AnswerDelta delta = stream.Push(id);
    text += delta.text;
    returned += delta.token_ids.size();
    if (delta.stopped) {
      EXPECT_EQ(delta.stop_string, "two three");
      stopped = true;
      break;
    }
  }
  EXPECT_TRUE(stopped);
  EXPECT_EQ(text, "one ");
  EXPECT_EQ(returned, pushed);
  EXPECT_LT(pushed, ids.size());
  EXPECT_TRUE(stream.Push(ids.back()).text.empty());
}

TEST_F(AnswerStreamTest, IdsWaitWhileTheirCharacterIsIncomplete) {
  const std::string emoji = "\xF0\x9F\xA6\x92";
  const std::vector<int32_t> ids = Encode(emoji);
  ASSERT_GT(ids.size(), 1u) << "the small vocabulary has no giraffe";
  AnswerStream stream(*tokenizer_, {});
  for (size_t i = 0; i + 1 < ids.size(); ++i) {
    const AnswerDelta delta = stream.Push(ids[i]);
    EXPECT_EQ(delta.text, "");
    EXPECT_TRUE(delta.token_ids.empty());
  }
  const AnswerDelta last = stream.Push(ids.back());
  EXPECT_EQ(last.text, emoji);
  EXPECT_EQ(last.token_ids, ids);
}

TEST_F(AnswerStreamTest, BoxesComeWithTheTokenThatCompletesThem) {
  AnswerOptions options;
  options.image_sizes = {{999, 999}};
  AnswerStream stream(*tokenizer_, options);
  std::vector<Box> boxes;
  const std::vector<int32_t> ids = Encode("<|ref|>dog<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>!");
  for (size_t i = 0; i < ids.size(); ++i) {
    for (const Box& box : stream.Push(ids[i]).boxes) {
      EXPECT_EQ(ids[i], tokenizer_->special().det_close);
      boxes.push_back(box);
    }
  }
  ASSERT_EQ(boxes.size(), 1u);
  EXPECT_EQ(boxes[0].phrase, "dog");
  EXPECT_EQ(boxes[0].pixel_y2, 4);
}

TEST_F(AnswerStreamTest, EndTokensLeaveNoText) {
  AnswerStream stream(*tokenizer_, {});
  const int32_t eos = tokenizer_->special().eos;
  const AnswerDelta delta = stream.Push(eos);
  EXPECT_EQ(delta.text, "");
  EXPECT_THAT(delta.token_ids, ElementsAre(eos));
}

}  // namespace
}  // namespace tessera::answer
