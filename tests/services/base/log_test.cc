#include "services/base/log.h"

#include <gtest/gtest.h>

namespace tessera::log {
namespace {

class LogTest : public ::testing::Test {
 protected:
  ~LogTest() override {
    SetLevel(Level::kInfo);
    SetFormat(Format::kText);
  }
};

TEST_F(LogTest, WritesOneTextLineWithFields) {
  ::testing::internal::CaptureStderr();
  TESSERA_LOG(kInfo).With("worker", 3) << "joined";
  const std::string line = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(line.find("joined worker=3\n"), std::string::npos) << line;
}

TEST_F(LogTest, EscapesJson) {
  SetFormat(Format::kJson);
  ::testing::internal::CaptureStderr();
  TESSERA_LOG(kWarning).With("text", "a\"b\n") << "back\\slash";
  const std::string line = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(line.find(R"("message":"back\\slash")"), std::string::npos) << line;
  EXPECT_NE(line.find(R"("text":"a\"b\u000a")"), std::string::npos) << line;
  EXPECT_EQ(line.find('\n'), line.size() - 1);
}

TEST_F(LogTest, BelowTheLevelNothingIsEvaluated) {
  SetLevel(Level::kWarning);
  int evaluated = 0;
  ::testing::internal::CaptureStderr();
  TESSERA_LOG(kInfo) << ++evaluated;
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(evaluated, 0);
}

TEST_F(LogTest, ParsesLevelsAndNamesTheWrongOne) {
  EXPECT_EQ(*ParseLevel("debug"), Level::kDebug);
  const auto wrong = ParseLevel("loud");
  EXPECT_EQ(wrong.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(wrong.status().message().find("loud"), absl::string_view::npos);
}

}  // namespace
}  // namespace tessera::log
