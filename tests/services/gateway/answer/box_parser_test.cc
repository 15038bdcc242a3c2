#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "services/gateway/answer/answer.h"

namespace tessera::answer {
namespace {

using ::testing::HasSubstr;

std::vector<Box> ParseInPortions(const std::string& text, size_t portion,
                                 std::vector<ImageSize> sizes = {{640, 480}}) {
  BoxParser parser(std::move(sizes));
  std::vector<Box> boxes;
  for (size_t at = 0; at < text.size(); at += portion) {
    for (Box& box : parser.Feed(std::string_view(text).substr(at, portion))) {
      boxes.push_back(std::move(box));
    }
  }
  for (Box& box : parser.Finish()) {
    boxes.push_back(std::move(box));
  }
  return boxes;
}

std::vector<Box> Parse(const std::string& text) { return ParseInPortions(text, text.size() + 1); }

std::vector<Box> ParseList(const std::string& list) {
  return Parse("<|ref|>a<|/ref|><|det|>" + list + "<|/det|>");
}

TEST(BoxParser, ReadsAWellFormedBox) {
  const std::vector<Box> boxes =
      Parse("Here: <|ref|>the giraffe<|/ref|><|det|>[[100, 200, 300, 999]]<|/det|>.");
  ASSERT_EQ(boxes.size(), 1u);
  EXPECT_EQ(boxes[0].phrase, "the giraffe");
  EXPECT_TRUE(boxes[0].valid) << boxes[0].invalid_reason;
  EXPECT_EQ(boxes[0].x1, 100);
  EXPECT_EQ(boxes[0].y2, 999);
  EXPECT_EQ(boxes[0].pixel_x1, 64);  // int(100 / 999 * 640)
  EXPECT_EQ(boxes[0].pixel_y1, 96);  // int(200 / 999 * 480)
  EXPECT_EQ(boxes[0].pixel_x2, 192);
  EXPECT_EQ(boxes[0].pixel_y2, 480);
  EXPECT_EQ(boxes[0].raw, "[100, 200, 300, 999]");
}

TEST(BoxParser, SharesThePhraseAmongTheBoxesOfOneList) {
  const std::vector<Box> boxes = ParseList("[[1, 2, 3, 4], [5, 6, 7, 8]]");
  ASSERT_EQ(boxes.size(), 2u);
  EXPECT_EQ(boxes[1].phrase, "a");
  EXPECT_EQ(boxes[1].x1, 5);
  EXPECT_TRUE(boxes[1].valid);
}

struct Malformed {
  std::string list;
  std::string reason;
};

class MalformedBoxes : public ::testing::TestWithParam<Malformed> {};

TEST_P(MalformedBoxes, ComeBackWithAReason) {
  const std::vector<Box> boxes = ParseList(GetParam().list);
  ASSERT_EQ(boxes.size(), 1u) << GetParam().list;
  EXPECT_FALSE(boxes[0].valid);
  EXPECT_EQ(boxes[0].invalid_reason, GetParam().reason);
  EXPECT_EQ(boxes[0].phrase, "a");
}

// What users of this model have seen, and what an unlucky sampler can make.
INSTANTIATE_TEST_SUITE_P(Seen, MalformedBoxes,
                         ::testing::Values(Malformed{"[[470,]]", "1 number instead of 4"},
                                           Malformed{"[[1, 2, 3]]", "3 numbers instead of 4"},
                                           Malformed{"[[1, 2, 3, 4, 5]]", "5 numbers instead of 4"},
                                           Malformed{"[[1234567890123, 2, 3, 4]]",
                                                     "a number of 13 digits"},
                                           Malformed{"[[1, 2, 1203, 4]]", "1203 is above 999"},
                                           Malformed{"[[-5, 2, 3, 4]]", "-5 is below 0"},
                                           Malformed{"[[9, 2, 3, 4]]", "x2 < x1"},
                                           Malformed{"[[1, 9, 3, 4]]", "y2 < y1"},
                                           Malformed{"[[[1, 2, 3, 4]]]", "nested lists"},
                                           Malformed{"[1, 2, 3, 4]", "not inside a list of boxes"},
                                           Malformed{"[[1, 2, 3, x]]", "not a number"},
                                           Malformed{"[[1, , 3, 4]]", "a number is missing"},
                                           Malformed{"[[1, 2, 3, 4", "a bracket is not closed"},
                                           Malformed{"1, 2, 3, 4", "no list of numbers"},
                                           Malformed{"", "no list of numbers"}));

TEST(BoxParser, AnEmptyListIsNoBox) { EXPECT_TRUE(ParseList("[]").empty()); }

TEST(BoxParser, DecimalsAreNumbers) {
  const std::vector<Box> boxes = ParseList("[[10.5, 20.25, 30, 40]]");
  ASSERT_EQ(boxes.size(), 1u);
  EXPECT_TRUE(boxes[0].valid);
  EXPECT_EQ(boxes[0].pixel_x1, 6);  // int(10.5 / 999 * 640)
}

TEST(BoxParser, ABoxWithoutAPhraseIsInvalidButRead) {
  const std::vector<Box> boxes = Parse("<|det|>[[1, 2, 3, 4]]<|/det|>");
  ASSERT_EQ(boxes.size(), 1u);
  EXPECT_TRUE(boxes[0].parsed);
  EXPECT_EQ(boxes[0].invalid_reason, "no phrase");
}

TEST(BoxParser, UnclosedTagsDoNotSwallowTheRest) {
  const std::vector<Box> boxes = Parse(
      "<|ref|>a<|/ref|><|det|>[[1, 2<|ref|>b<|/ref|><|det|>[[1, 2, 3, "
      "4]]<|/det|><|ref|>c<|/ref|><|det|>[[5");
  ASSERT_EQ(boxes.size(), 3u);
  EXPECT_EQ(boxes[0].invalid_reason, "<|det|> is not closed");
  EXPECT_EQ(boxes[0].raw, "[[1, 2");
  EXPECT_TRUE(boxes[1].valid);
  EXPECT_EQ(boxes[1].phrase, "b");
  EXPECT_EQ(boxes[2].invalid_reason, "<|det|> is not closed");
}

TEST(BoxParser, MemoryIsBounded) {
  const std::string long_list = "<|ref|>a<|/ref|><|det|>" + std::string(100'000, '1');
  const std::vector<Box> boxes = ParseInPortions(long_list, 1000);
  ASSERT_EQ(boxes.size(), 1u);
  EXPECT_LE(boxes[0].raw.size(), 4096u);
  EXPECT_TRUE(ParseInPortions("<|ref|>" + std::string(100'000, 'x') + "<|/ref|>", 1000).empty());
}

TEST(BoxParser, BoxesBelongToTheLastPicture) {
  const std::vector<Box> boxes = ParseInPortions(
      "<|ref|>a<|/ref|><|det|>[[0, 0, 999, 999]]<|/det|>", 3, {{10, 10}, {200, 100}});
  ASSERT_EQ(boxes.size(), 1u);
  EXPECT_EQ(boxes[0].image_index, 1);
  EXPECT_EQ(boxes[0].pixel_x2, 200);
}

TEST(BoxParser, WithoutPicturesNoBoxIsValid) {
  const std::vector<Box> boxes =
      ParseInPortions("<|ref|>a<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>", 99, {});
  ASSERT_EQ(boxes.size(), 1u);
  EXPECT_EQ(boxes[0].invalid_reason, "no picture");
}

// Random soups of tags and digits: never a crash, and the same boxes however the text is cut.
TEST(BoxParser, PortionsMakeNoDifference) {
  const std::vector<std::string> pieces = {
      "<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>",           "[",       "]", "12", "999", ", ",
      "<|",      "|>",       "é",       std::string(1, '\0'), "giraffe", "-", "."};
  std::mt19937 random(11);
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (int i = 0; i < 30; ++i) {
      text += pieces[random() % pieces.size()];
    }
    const std::vector<Box> whole = Parse(text);
    for (const size_t portion : {1, 2, 5, 13}) {
      const std::vector<Box> cut = ParseInPortions(text, portion);
      ASSERT_EQ(cut.size(), whole.size()) << text;
      for (size_t i = 0; i < cut.size(); ++i) {
        EXPECT_EQ(cut[i].raw, whole[i].raw);
        EXPECT_EQ(cut[i].phrase, whole[i].phrase);
        EXPECT_EQ(cut[i].invalid_reason, whole[i].invalid_reason);
        EXPECT_EQ(cut[i].valid, cut[i].invalid_reason.empty());
      }
    }
  }
}

}  // namespace
}  // namespace tessera::answer
