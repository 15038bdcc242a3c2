#include "services/gateway/answer/stop_strings.h"

#include <gtest/gtest.h>

#include <random>

namespace tessera::answer {
namespace {

TEST(StopStrings, LetsEverythingGoWithoutStops) {
  StopStrings stops({});
  EXPECT_EQ(stops.Append("abc"), "abc");
  EXPECT_EQ(stops.Flush(), "");
}

TEST(StopStrings, HoldsBackOnlyWhatMayBeAStop) {
  StopStrings stops({"User:"});
  EXPECT_EQ(stops.Append("Hello U"), "Hello ");
  EXPECT_EQ(stops.Append("se"), "");
  EXPECT_EQ(stops.Append("d"), "Used");
  EXPECT_EQ(stops.Append(" by User"), " by ");
  EXPECT_EQ(stops.Append(": x"), "");
  EXPECT_TRUE(stops.stopped());
  EXPECT_EQ(stops.found(), "User:");
  EXPECT_EQ(stops.Append("more"), "");
}

TEST(StopStrings, GivesBackAnUnfinishedStopAtTheEnd) {
  StopStrings stops({"END"});
  EXPECT_EQ(stops.Append("theE"), "the");
  EXPECT_EQ(stops.Append("N"), "");
  EXPECT_EQ(stops.Flush(), "EN");
  EXPECT_FALSE(stops.stopped());
}

TEST(StopStrings, TakesTheEarliestOfSeveral) {
  StopStrings stops({"bb", "abb"});
  EXPECT_EQ(stops.Append("xxabb"), "xx");
  EXPECT_EQ(stops.found(), "abb");
}

// Oracle: the first place at which any stop string stands in the whole text.
TEST(StopStrings, CutAtTheSamePlaceHoweverTheTextArrives) {
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (int i = 0; i < 40; ++i) {
      text += static_cast<char>('a' + random() % 2);
    }
    const std::vector<std::string> strings = {"aabab", "bbbb", "abaab"};
    size_t cut = std::string::npos;
    for (const std::string& stop : strings) {
      cut = std::min(cut, text.find(stop));
    }
    StopStrings stops(strings);
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const size_t count = 1 + random() % 3;
      out += stops.Append(std::string_view(text).substr(at, count));
      at += count;
    }
    out += stops.Flush();
    // A longer portion may hold a later stop that is complete before an earlier one is: both are
    // right places to stop, and with portions of one character only the earliest-completed is
    // found.
    if (cut == std::string::npos) {
      EXPECT_EQ(out, text);
    } else {
      EXPECT_TRUE(stops.stopped());
      EXPECT_EQ(text.substr(out.size(), stops.found().size()), stops.found());
      EXPECT_LE(out.size(), cut + 5);
    }
  }
}

}  // namespace
}  // namespace tessera::answer
