#include "services/config/byte_size.h"

#include <gtest/gtest.h>

namespace tessera::config {
namespace {

TEST(ByteSize, ReadsUnits) {
  EXPECT_EQ(ParseByteSize("0").value(), 0);
  EXPECT_EQ(ParseByteSize("123").value(), 123);
  EXPECT_EQ(ParseByteSize("7B").value(), 7);
  EXPECT_EQ(ParseByteSize("20MiB").value(), 20 * 1024 * 1024);
  EXPECT_EQ(ParseByteSize("1 GiB").value(), int64_t{1} << 30);
  EXPECT_EQ(ParseByteSize("3TB").value(), 3'000'000'000'000);
}

TEST(ByteSize, RefusesWhatIsNoSize) {
  for (const char* text : {"", "MiB", "-1", "1.5GiB", "1 apple", "1mib", "9223372036854775808",
                           "8388608TiB", "0x10"}) {
    EXPECT_EQ(ParseByteSize(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(ByteSize, FormatsWhatItReads) {
  for (int64_t bytes : {int64_t{0}, int64_t{1}, int64_t{1000}, int64_t{1024}, int64_t{1536},
                        int64_t{1} << 30, (int64_t{1} << 31) - 1}) {
    EXPECT_EQ(ParseByteSize(FormatByteSize(bytes)).value(), bytes);
  }
  EXPECT_EQ(FormatByteSize(20 << 20), "20MiB");
  EXPECT_EQ(FormatByteSize(1000), "1000");
}

}  // namespace
}  // namespace tessera::config
