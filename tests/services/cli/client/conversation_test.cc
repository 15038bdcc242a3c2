#include "services/cli/client/conversation.h"

#include <filesystem>
#include <fstream>
#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "services/cli/client/annotate_answer.h"
#include "services/cli/client/answer_text.h"
#include "services/cli/client/request.h"

namespace tessera::cli {
namespace {

using ::testing::ElementsAre;

std::string Temp(const std::string& name) {
  return (std::filesystem::path(testing::TempDir()) / name).string();
}

std::string Written(const std::string& name, const std::string& bytes) {
  std::ofstream(Temp(name), std::ios::binary) << bytes;
  return Temp(name);
}

// "I" for a picture, else the text.
std::vector<std::string> Parts(const v1::Message& message) {
  std::vector<std::string> parts;
  for (const v1::ContentPart& part : message.content()) {
    parts.push_back(part.has_image() ? "I" + part.image().data() : part.text());
  }
  return parts;
}

TEST(UserMessage, PutsPicturesBeforeTheTextAsOfficialPromptsDo) {
  EXPECT_THAT(Parts(UserMessage({"a", "b"}, "What?")),
              ElementsAre("Ia", "\n", "Ib", "\n", "What?"));
  EXPECT_THAT(Parts(UserMessage({}, "What?")), ElementsAre("What?"));
}

TEST(UserMessage, LeavesPlaceholdersAlone) {
  EXPECT_THAT(Parts(UserMessage({"a", "b"}, "1: <image> 2: <image>")),
              ElementsAre("Ia", "Ib", "1: <image> 2: <image>"));
}

TEST(ReadFile, NamesThePath) {
  EXPECT_EQ(ReadFile(Temp("none.png")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(ReadFile(Temp("none.png")).status().message()),
              testing::HasSubstr("none.png"));
  EXPECT_EQ(ReadFile(testing::TempDir()).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadFile(Written("empty.png", "")).value(), "");
  EXPECT_EQ(ReadFile(Written("two.png", std::string("a\0b", 3))).value(), std::string("a\0b", 3));
}

TEST(Conversation, KeepsTurnsAndTakesAFailedQuestionBack) {
  Conversation conversation;
  ASSERT_TRUE(conversation.AddPicture(Written("p.png", "pixels")).ok());
  conversation.AddQuestion("What?");
  conversation.TakeQuestionBack();
  EXPECT_TRUE(conversation.messages().empty());
  EXPECT_THAT(conversation.picture_names(), ElementsAre(Temp("p.png")));
  conversation.AddQuestion("What is it?");
  Answer answer;
  answer.text = "A circle.";
  conversation.AddAnswer(answer);
  conversation.AddQuestion("Sure?");
  ASSERT_EQ(conversation.messages().size(), 3);
  EXPECT_THAT(Parts(conversation.messages()[0]), ElementsAre("Ipixels", "\n", "What is it?"));
  EXPECT_EQ(conversation.messages()[1].role(), v1::ROLE_ASSISTANT);
  EXPECT_THAT(Parts(conversation.messages()[2]), ElementsAre("Sure?"));
}

TEST(Conversation, SavesPicturesByName) {
  Conversation conversation;
  conversation.system = "Be brief.";
  ASSERT_TRUE(conversation.AddPicture(Written("p.png", "pixels")).ok());
  conversation.AddQuestion("What?");
  ASSERT_TRUE(conversation.Save(Temp("chat.json")).ok());
  const auto saved = nlohmann::json::parse(std::ifstream(Temp("chat.json")));
  EXPECT_EQ(saved["system"], "Be brief.");
  EXPECT_EQ(saved["messages"][0]["content"][0]["image"], Temp("p.png"));
  EXPECT_EQ(saved["messages"][0]["content"][2]["text"], "What?");
  EXPECT_FALSE(conversation.Save(Temp("no/such/folder/chat.json")).ok());
}

TEST(AnswerJson, IsOneLineWithEveryField) {
  Answer answer;
  answer.text = "two\nlines";
  answer.token_ids = {5, 6};
  answer.started.set_seed(18446744073709551615U);
  answer.finished.set_reason(v1::FINISH_REASON_STOP_STRING);
  answer.finished.set_stop_string("x");
  v1::Box& box = answer.boxes.emplace_back();
  box.set_phrase("cat");
  box.set_valid(true);
  box.mutable_pixels()->set_x2(9);
  const std::string line = AnswerJson(answer);
  EXPECT_EQ(line.find('\n'), std::string::npos);
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["text"], "two\nlines");
  EXPECT_EQ(json["token_ids"], nlohmann::json({5, 6}));
  EXPECT_EQ(json["seed"], 18446744073709551615U);
  EXPECT_EQ(json["finish_reason"], "stop_string");
  EXPECT_EQ(json["boxes"][0]["pixels"], nlohmann::json({0, 0, 9, 0}));
  EXPECT_EQ(json["boxes"][0]["normalized"], nullptr);
}

TEST(AnnotatedPath, NumbersFurtherPictures) {
  EXPECT_EQ(AnnotatedPath("a/out.png", 0), "a/out.png");
  EXPECT_EQ(AnnotatedPath("a/out.png", 2), "a/out-2.png");
  EXPECT_EQ(AnnotatedPath("out", 1), "out-1");
}

}  // namespace
}  // namespace tessera::cli
