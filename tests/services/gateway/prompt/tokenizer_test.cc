// What the golden lines do not show: plain-text mode, bad input, bad files, and inputs that punish
// quadratic algorithms.
#include "services/gateway/prompt/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <iostream>
#include <string>

#include "services/gateway/prompt/pre_tokenizer_pattern.h"
#include "services/gateway/prompt/utf8.h"
#include "tests/support/golden_files.h"

namespace tessera::prompt {
namespace {

using testing::GoldenPath;
using ::testing::HasSubstr;
using testing::ReadGoldenFile;
using testing::ReadGoldenFileOrGz;

std::unique_ptr<Tokenizer> LoadGolden(const std::string& name) {
  const std::string folder = GoldenPath("tokenizers/" + name);
  auto tokenizer = Tokenizer::Parse(ReadGoldenFileOrGz(folder + "/tokenizer.json"),
                                    ReadGoldenFile(folder + "/tokenizer_config.json"));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

std::string Repeat(const std::string& text, size_t bytes) {
  std::string out;
  while (out.size() < bytes) out += text;
  return out;
}

TEST(Tokenizer, PlainTextModeLeavesControlTokensAsText) {
  for (const char* name : {"ds_v3", "ds_v2"}) {
    const auto tokenizer = LoadGolden(name);
    const std::string eos(tokenizer->TokenBytes(tokenizer->special().eos));
    const std::string text = "a<|User|>" + eos + "<image><|ref|>b<|/ref|><|Assistant|><think>";
    const auto ids = tokenizer->Encode(text, AddedTokens::kNoControl);
    ASSERT_TRUE(ids.ok());
    const SpecialTokens& special = tokenizer->special();
    for (const int32_t control :
         {special.user, special.assistant, special.eos, special.bos, special.pad}) {
      EXPECT_EQ(std::count(ids->begin(), ids->end(), control), 0) << name;
    }
    for (const int32_t kept : {special.image, special.ref_open, special.ref_close}) {
      EXPECT_EQ(std::count(ids->begin(), ids->end(), kept), 1) << name;
    }
    EXPECT_EQ(Decode(*tokenizer, *ids, false), text);
  }
}

TEST(Tokenizer, RefusesInvalidUtf8WithItsOffset) {
  const auto tokenizer = LoadGolden("small_v3");
  const auto ids = tokenizer->Encode("ab\xC3(", AddedTokens::kAll);
  EXPECT_EQ(ids.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(ids.status().message()), HasSubstr("byte offset 2"));
}

TEST(Tokenizer, UnknownIdsHaveNoBytes) {
  const auto tokenizer = LoadGolden("small_v3");
  EXPECT_EQ(tokenizer->TokenBytes(-1), "");
  EXPECT_EQ(tokenizer->TokenBytes(tokenizer->size()), "");
  EXPECT_FALSE(tokenizer->IsSpecial(1 << 30));
}

TEST(Tokenizer, LoadNamesTheMissingFile) {
  const auto tokenizer = Tokenizer::Load(GoldenPath("grounding"));
  EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr("tokenizer.json"));
}

TEST(Tokenizer, NamesWhatItDoesNotSupport) {
  const std::string good = ReadGoldenFile(GoldenPath("tokenizers/small_v2/tokenizer.json"));
  nlohmann::json json = nlohmann::json::parse(good);
  json["pre_tokenizer"]["pretokenizers"][2] = {{"type", "Metaspace"}};
  EXPECT_THAT(std::string(Tokenizer::Parse(json.dump(), "").status().message()),
              HasSubstr("pretokenizers[2].type 'Metaspace'"));
  json = nlohmann::json::parse(good);
  json["model"]["merges"][3] = "zz qq";
  EXPECT_THAT(std::string(Tokenizer::Parse(json.dump(), "").status().message()),
              HasSubstr("model.merges[3]"));
  json = nlohmann::json::parse(good);
  json["model"]["type"] = "Unigram";
  EXPECT_THAT(std::string(Tokenizer::Parse(json.dump(), "").status().message()),
              HasSubstr("model.type"));
  json = nlohmann::json::parse(good);
  json["normalizer"] = {{"type", "NFC"}};
  EXPECT_THAT(std::string(Tokenizer::Parse(json.dump(), "").status().message()),
              HasSubstr("normalizer"));
}

TEST(Tokenizer, OneMegabyteOfAnythingRoundTripsQuickly) {
  const size_t bytes = 1 << 20;
  for (const char* name : {"ds_v3", "ds_v2"}) {
    const auto tokenizer = LoadGolden(name);
    for (const std::string& text :
         {Repeat("a", bytes), Repeat(" ", bytes), Repeat(" ", bytes) + "中",
          Repeat(" ", bytes) + "x", Repeat("\n", bytes), Repeat("中", bytes), Repeat("7", bytes),
          Repeat("<", bytes), Repeat("<|User", bytes), Repeat("e\u0301", bytes),
          Repeat(" \t", bytes) + "\u0E01", Repeat("\u3000", bytes) + "9",
          Repeat("Hello, world! ", bytes)}) {
      const auto start = std::chrono::steady_clock::now();
      const auto ids = tokenizer->Encode(text, AddedTokens::kAll);
      const double seconds =
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      ASSERT_TRUE(ids.ok()) << ids.status();
      std::cout << name << " '" << text.substr(0, 6) << "…' " << seconds << " s\n";
      EXPECT_EQ(Decode(*tokenizer, *ids, false), text);
      EXPECT_LT(seconds, 5.0) << "quadratic?";  // a quadratic step over 1 MB takes minutes
    }
  }
}

TEST(TranslatePattern, MeansWhatOnigurumaMeans) {
  EXPECT_THAT(*TranslatePattern(R"(\s+$)"), ::testing::StartsWith("(?<!["));
  EXPECT_EQ(*TranslatePattern("a{,3}"), "a{0,3}");
  EXPECT_EQ(*TranslatePattern(R"([\d]x)"), R"([\p{Nd}]x)");
  for (const char* refused :
       {"[a[b]]", "[a&&b]", R"(\b)", "(?x)a", "a{2}+", "[ab", R"([\S])", "\\"}) {
    EXPECT_FALSE(TranslatePattern(refused).ok()) << refused;
  }
}

}  // namespace
}  // namespace tessera::prompt
