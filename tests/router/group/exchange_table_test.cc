#include "router/group/exchange_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>

namespace tessera::router {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Parts = absl::StatusOr<std::vector<std::string>>;

class ExchangeTableTest : public ::testing::Test {
 protected:
  std::shared_ptr<std::optional<Parts>> Add(int32_t rank, const std::string& data,
                                            const std::string& round = "r", uint64_t epoch = 1) {
    auto answer = std::make_shared<std::optional<Parts>>();
    const auto ticket = table_.Add({"g", epoch, rank, round, data}, 2,
                                   [answer](const Parts& parts) { *answer = parts; });
    EXPECT_TRUE(ticket.ok()) << ticket.status();
    ticket_ = ticket.value_or(0);
    return answer;
  }
  ExchangeTable table_;
  uint64_t ticket_ = 0;
};

TEST_F(ExchangeTableTest, AnswersAllWhenAllAreThereAndForgets) {
  const auto second = Add(1, "b");
  EXPECT_FALSE(second->has_value());
  const auto first = Add(0, "a");
  ASSERT_TRUE(first->has_value());
  EXPECT_THAT(***first, ElementsAre("a", "b"));
  EXPECT_THAT(***second, ElementsAre("a", "b"));
  EXPECT_EQ(table_.open_calls(), 0u);
}

TEST_F(ExchangeTableTest, APartGoesWithItsCall) {
  const auto gone = Add(0, "old");
  table_.Remove(ticket_);
  EXPECT_EQ(table_.open_calls(), 0u);
  const auto second = Add(1, "b");
  EXPECT_FALSE(second->has_value());
  Add(0, "new");
  EXPECT_THAT(***second, ElementsAre("new", "b"));
  EXPECT_FALSE(gone->has_value());
}

TEST_F(ExchangeTableTest, ARankThatComesAgainReplacesItself) {
  const auto old = Add(0, "old");
  const auto again = Add(0, "new");
  EXPECT_TRUE(absl::IsAborted((*old)->status()));
  Add(1, "b");
  EXPECT_THAT(***again, ElementsAre("new", "b"));
}

TEST_F(ExchangeTableTest, AbortsOtherEpochs) {
  const auto old = Add(0, "a");
  table_.AbortOthers("h", 2);
  EXPECT_FALSE(old->has_value()) << "another group's epoch";
  table_.AbortOthers("g", 2);
  EXPECT_TRUE(absl::IsAborted((*old)->status()));
  EXPECT_EQ(table_.open_calls(), 0u);
}

TEST_F(ExchangeTableTest, IsBounded) {
  const auto refuse = [](const Parts&) { FAIL(); };
  EXPECT_THAT(table_.Add({"g", 1, 2, "r", ""}, 2, refuse).status().message(),
              HasSubstr("rank: is 2, must be 0 to 1"));
  EXPECT_THAT(table_.Add({"g", 1, 0, std::string(129, 'r'), ""}, 2, refuse).status().message(),
              HasSubstr("round: has 129 bytes"));
  EXPECT_THAT(table_.Add({"g", 1, 0, "r", std::string(65537, 'd')}, 2, refuse).status().message(),
              HasSubstr("data: has 65537 bytes"));
  for (size_t n = 0; n < kMaxExchangeRounds; ++n) Add(0, "", std::to_string(n));
  EXPECT_TRUE(absl::IsResourceExhausted(table_.Add({"g", 1, 0, "more", ""}, 2, refuse).status()));
  Add(1, "", "7");
  Add(0, "", "more");
  table_.EndAll(absl::UnavailableError("over"));
  EXPECT_EQ(table_.open_calls(), 0u);
}

}  // namespace
}  // namespace tessera::router
