#include "worker/model/safetensors.h"

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tessera::model {
namespace {

using testing::HasSubstr;

std::string File(const std::string& json, uint64_t length) {
  std::string file;
  for (int i = 0; i < 8; ++i) file.push_back(static_cast<char>(length >> (8 * i) & 0xff));
  return file + json;
}

// Parses a header that is followed by data_bytes of data.
absl::StatusOr<SafetensorsHeader> Parse(const std::string& json, int64_t data_bytes) {
  const std::string file = File(json, json.size());
  return ParseSafetensorsHeader(file, static_cast<int64_t>(file.size()) + data_bytes);
}

void ExpectRefused(const std::string& json, const std::string& words, int64_t data_bytes = 64) {
  const auto header = Parse(json, data_bytes);
  ASSERT_EQ(header.status().code(), absl::StatusCode::kInvalidArgument) << json;
  EXPECT_THAT(std::string(header.status().message()), HasSubstr(words)) << json;
}

std::string Entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return absl::StrCat(R"({"a":{"dtype":")", dtype, R"(","shape":)", shape, R"(,"data_offsets":)",
                      offsets, "}}");
}

TEST(SafetensorsHeader, ReadsTensorsAndMetadata) {
  const auto header = Parse(
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},)"
      R"("b":{"dtype":"F32","shape":[],"data_offsets":[12,16]},)"
      R"("c":{"dtype":"I64","shape":[0,5],"data_offsets":[16,16]}})",
      16);
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->metadata.at("format"), "pt");
  EXPECT_EQ(header->tensors.at("a").num_elements(), 6);
  EXPECT_EQ(header->tensors.at("a").dtype, StoredDType::kBF16);
  EXPECT_EQ(header->tensors.at("b").num_elements(), 1);
  EXPECT_EQ(header->tensors.at("c").num_elements(), 0);
}

TEST(SafetensorsHeader, RefusesLengthsThatLie) {
  EXPECT_THAT(std::string(ParseSafetensorsHeader("1234567", 7).status().message()),
              HasSubstr("shorter"));
  EXPECT_THAT(std::string(ParseSafetensorsHeader(File("{}", 3), 10).status().message()),
              HasSubstr("past the end"));
  EXPECT_THAT(std::string(ParseSafetensorsHeader(File("{}", UINT64_MAX), 10).status().message()),
              HasSubstr("limit"));
  EXPECT_THAT(std::string(ParseSafetensorsHeader(File("{}", uint64_t{1} << 40), int64_t{1} << 50)
                              .status()
                              .message()),
              HasSubstr("limit"));
  // What the caller holds counts as well as what the file system says.
  EXPECT_THAT(std::string(ParseSafetensorsHeader(File("{}", 50), 1000).status().message()),
              HasSubstr("past the end"));
}

TEST(SafetensorsHeader, RefusesWhatIsNoHeader) {
  ExpectRefused("[]", "not a JSON object");
  ExpectRefused("{", "not a JSON object");
  ExpectRefused("", "not a JSON object");
  ExpectRefused(R"({"a":3})", "not an object");
  ExpectRefused(R"({"__metadata__":3})", "__metadata__");
  ExpectRefused(R"({"__metadata__":{"a":3}})", "__metadata__");
  ExpectRefused(R"({"__metadata__":{},"__metadata__":{}})", "twice");
}

TEST(SafetensorsHeader, RefusesOffsetsOutsideTheFile) {
  ExpectRefused(Entry("F32", "[17]", "[0,68]"), "do not lie");
  ExpectRefused(Entry("F32", "[1]", "[-4,0]"), "do not lie");
  ExpectRefused(Entry("F32", "[1]", "[8,4]"), "do not lie");
  ExpectRefused(Entry("F32", "[1]", "[9223372036854775804,9223372036854775807]"), "do not lie");
  ExpectRefused(Entry("F32", "[1]", "[18446744073709551612,18446744073709551615]"), "two integers");
  ExpectRefused(Entry("F32", "[1]", "[0]"), "two integers");
  ExpectRefused(Entry("F32", "[1]", "[0.5,4]"), "two integers");
  ExpectRefused(Entry("F32", "[1]", "{}"), "two integers");
}

TEST(SafetensorsHeader, RefusesShapesThatDoNotFitTheirBytes) {
  ExpectRefused(Entry("F32", "[2]", "[0,4]"), "need 8 bytes");
  ExpectRefused(Entry("F32", "[-1]", "[0,4]"), "integers >= 0");
  ExpectRefused(Entry("F32", "[\"1\"]", "[0,4]"), "integers >= 0");
  ExpectRefused(Entry("F32", "7", "[0,4]"), "not a list");
  // 2^32 * 2^32 wraps to 0, which would fit any bytes.
  ExpectRefused(Entry("F32", "[4294967296,4294967296]", "[0,0]"), "too large");
  ExpectRefused(Entry("F32", "[4611686018427387904]", "[0,0]"), "too large");
  ExpectRefused(Entry("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), "8 dimensions");
  ExpectRefused(Entry("F33", "[1]", "[0,4]"), "unknown dtype");
  ExpectRefused(R"({"a":{"shape":[1],"data_offsets":[0,4]}})", "dtype is missing");
  ExpectRefused(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", "shape is missing");
  ExpectRefused(R"({"a":{"dtype":"F32","shape":[1]}})", "data_offsets is missing");
}

TEST(SafetensorsHeader, RefusesOverlapAndRepeatedNames) {
  ExpectRefused(
      R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[8],"data_offsets":[7,15]}})",
      "overlap");
  ExpectRefused(
      R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"a":{"dtype":"U8","shape":[8],"data_offsets":[8,16]}})",
      "twice");
}

}  // namespace
}  // namespace tessera::model
