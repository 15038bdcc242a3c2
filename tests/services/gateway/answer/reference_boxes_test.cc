// Every golden case of the official parser.
#include <gtest/gtest.h>

#include "services/gateway/answer/answer.h"
#include "tests/support/golden_files.h"

namespace tessera::answer {
namespace {

TEST(ReferenceBoxes, EqualTheOfficialParserOnEveryGoldenCase) {
  const nlohmann::json cases = testing::ReadGoldenJson(testing::GoldenPath("grounding/cases.json"));
  ASSERT_GE(cases.size(), 80u);
  for (const nlohmann::json& one : cases) {
    const auto response = one["response"].get<std::string>();
    const ImageSize size{one["image_size"][0], one["image_size"][1]};
    const auto boxes = ParseReferenceBoxes(response, size);
    ASSERT_EQ(boxes.has_value(), !one["boxes"].is_null()) << response;
    if (!boxes.has_value()) {
      continue;
    }
    ASSERT_EQ(boxes->size(), one["boxes"].size()) << response;
    for (size_t i = 0; i < boxes->size(); ++i) {
      const ReferenceBox& box = (*boxes)[i];
      EXPECT_EQ(box.label, one["boxes"][i]["label"].get<std::string>());
      EXPECT_EQ((std::vector<int64_t>{box.x1, box.y1, box.x2, box.y2}),
                one["boxes"][i]["box"].get<std::vector<int64_t>>())
          << response;
    }
  }
}

TEST(ReferenceBoxes, ReadNumbersAsPythonDoes) {
  const auto parse = [](const std::string& list) {
    return ParseReferenceBoxes("<|ref|>a<|/ref|><|det|>" + list + "<|/det|>", {999, 999});
  };
  EXPECT_EQ(parse("[[1, 2, 3, 4,]]")->size(), 1u) << "a comma at the end is allowed";
  EXPECT_FALSE(parse("[[01, 2, 3, 4]]").has_value()) << "a leading zero is a syntax error";
  EXPECT_EQ((*parse("[[1e1, 2, 30, 4]]"))[0].x1, 10);
  EXPECT_EQ((*parse("[[-1, 2, +3, 4]]"))[0].x2, 3);
  EXPECT_FALSE(parse("[[1,, 2, 3, 4]]").has_value());
  EXPECT_FALSE(parse("[[[1, 2, 3, 4]]]").has_value());
}

}  // namespace
}  // namespace tessera::answer
