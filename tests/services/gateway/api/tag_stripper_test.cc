#include "services/gateway/api/tag_stripper.h"

#include <gtest/gtest.h>

namespace tessera::gateway {
namespace {

std::string Strip(const std::string& text, size_t step) {
  TagStripper stripper;
  std::string out;
  for (size_t at = 0; at < text.size(); at += step) out += stripper.Feed(text.substr(at, step));
  return out + stripper.Finish();
}

TEST(TagStripper, TakesTagsAndBoxesOutHoweverTheTextIsCut) {
  const std::string text = "a < b <|ref|>the dog<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|> and <|re";
  for (size_t step = 1; step <= text.size(); ++step)
    EXPECT_EQ(Strip(text, step), "a < b the dog and <|re") << step;
}

TEST(TagStripper, AnOpenBoxEndsWithTheAnswer) { EXPECT_EQ(Strip("x<|det|>[[1, 2", 3), "x"); }

TEST(TagStripper, GivesUpABoxThatNeverCloses) {
  const std::string out = Strip("<|det|>" + std::string(5000, '9') + " and text", 100);
  EXPECT_EQ(out.substr(out.size() - 9), " and text");
}

}  // namespace
}  // namespace tessera::gateway
