#include "services/gateway/api/grounding_tag.h"

#include <gtest/gtest.h>

namespace tessera::gateway {
namespace {

using Part = prompt::ContentPart;

Part Text(const std::string& text) { return {Part::Kind::kText, text, 0}; }
Part Image() { return {Part::Kind::kImage, "", 0}; }

std::string Joined(std::vector<Part> parts) {
  prompt::Message message;
  message.content = std::move(parts);
  InsertGroundingTag(&message);
  std::string joined;
  for (const Part& part : message.content)
    joined += part.kind == Part::Kind::kImage ? "[picture]" : part.text;
  return joined;
}

TEST(GroundingTag, StandsBehindThePicturesAndBeforeTheText) {
  EXPECT_EQ(Joined({Text("Find it.")}), "<|grounding|>Find it.");
  EXPECT_EQ(Joined({Image(), Text("Find it.")}), "[picture]<|grounding|>Find it.");
  EXPECT_EQ(Joined({Text("<image>\nFind it."), Image()}),
            "<image>\n<|grounding|>Find it.[picture]");
  EXPECT_EQ(Joined({Image(), Text("\nFind it.")}), "[picture]\n<|grounding|>Find it.");
  EXPECT_EQ(Joined({Text("See: "), Image(), Image()}), "See: [picture][picture]<|grounding|>");
}

TEST(GroundingTag, IsNotGivenTwice) {
  EXPECT_EQ(Joined({Image(), Text("<|grounding|>Find it.")}), "[picture]<|grounding|>Find it.");
}

}  // namespace
}  // namespace tessera::gateway
