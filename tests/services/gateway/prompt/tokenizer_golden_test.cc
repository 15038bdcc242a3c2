// All lines of the golden tokenizer files: ids and texts that the official tokenizers produced.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "services/gateway/prompt/tokenizer.h"
#include "services/gateway/prompt/utf8.h"
#include "tests/support/golden_files.h"

namespace tessera::prompt {
namespace {

using testing::GoldenPath;
using testing::ReadGoldenFile;
using testing::ReadGoldenFileOrGz;
using testing::ReadGoldenLines;

struct GoldenTokenizer {
  std::string folder;
  std::string lines;  // whose golden lines it must reproduce
};

void PrintTo(const GoldenTokenizer& golden, std::ostream* out) { *out << golden.folder; }

class TokenizerGolden : public ::testing::TestWithParam<GoldenTokenizer> {
 protected:
  void SetUp() override {
    const std::string folder = GoldenPath("tokenizers/" + GetParam().folder);
    absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer =
        Tokenizer::Parse(ReadGoldenFileOrGz(folder + "/tokenizer.json"),
                         ReadGoldenFile(folder + "/tokenizer_config.json"));
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
  }

  std::vector<nlohmann::json> Lines(const std::string& kind) const {
    return ReadGoldenLines(GoldenPath("tokenizers/" + GetParam().lines + "." + kind + ".jsonl.gz"));
  }

  void ExpectDecodes(const nlohmann::json& line, const std::string& plain) const {
    const auto ids = line["ids"].get<std::vector<int32_t>>();
    const std::string decoded = line.value("decoded", plain);
    EXPECT_EQ(Decode(*tokenizer_, ids, false), decoded);
    EXPECT_EQ(Decode(*tokenizer_, ids, true), line.value("decoded_skip_special", decoded));
  }

  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_P(TokenizerGolden, EncodesEveryLine) {
  const std::vector<nlohmann::json> lines = Lines("encode");
  ASSERT_GT(lines.size(), 600u);
  for (const nlohmann::json& line : lines) {
    const auto text = line["text"].get<std::string>();
    const absl::StatusOr<std::vector<int32_t>> ids = tokenizer_->Encode(text, AddedTokens::kAll);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(*ids, line["ids"].get<std::vector<int32_t>>()) << text;
    ExpectDecodes(line, text);
  }
}

TEST_P(TokenizerGolden, DecodesEveryLine) {
  const std::vector<nlohmann::json> lines = Lines("decode");
  ASSERT_GT(lines.size(), 500u);
  for (const nlohmann::json& line : lines) ExpectDecodes(line, "");
}

TEST_P(TokenizerGolden, DecodesEveryPrefixOfStreams) {
  const std::vector<nlohmann::json> lines = Lines("stream");
  ASSERT_GT(lines.size(), 80u);
  for (const nlohmann::json& line : lines) {
    const auto ids = line["ids"].get<std::vector<int32_t>>();
    const nlohmann::json& prefixes = line["prefix_decoded"];
    ASSERT_EQ(prefixes.size(), ids.size());
    Utf8Assembler assembler;
    std::string streamed;
    for (size_t count = 1; count <= ids.size(); ++count) {
      const std::vector<int32_t> prefix(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(count));
      ASSERT_EQ(Decode(*tokenizer_, prefix, false), prefixes[count - 1].get<std::string>());
      streamed += assembler.Append(tokenizer_->TokenBytes(ids[count - 1]));
      Utf8Assembler copy = assembler;
      ASSERT_EQ(streamed + copy.Flush(), prefixes[count - 1].get<std::string>());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, TokenizerGolden,
                         ::testing::Values(GoldenTokenizer{"ds_v3", "ds_v3"},
                                           GoldenTokenizer{"ds_v2", "ds_v2"},
                                           GoldenTokenizer{"small_v3", "small_v3"},
                                           GoldenTokenizer{"small_v2", "small_v2"},
                                           GoldenTokenizer{"small_v2_raw", "small_v2"}),
                         [](const auto& info) { return info.param.folder; });

}  // namespace
}  // namespace tessera::prompt
