#include "services/base/sha256.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

// Expected values: sha256sum of the same bytes (length prefix, then content).
TEST(Sha256Fields, HashesLengthPrefixedFields) {
  EXPECT_EQ(HexString(Sha256Fields().Finish()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  // printf '\x03\0\0\0\0\0\0\0abc' | sha256sum
  EXPECT_EQ(HexString(Sha256Fields().Add("abc").Finish()),
            "ce91dc5eec0139adf091900d225971d6ad246a845bad791b5693a9d0d55dd391");
}

TEST(Sha256Fields, FieldBordersMatter) {
  EXPECT_NE(Sha256Fields().Add("ab").Add("c").Finish(), Sha256Fields().Add("a").Add("bc").Finish());
}

TEST(Sha256Fields, NumbersAreEightBytes) {
  EXPECT_EQ(Sha256Fields().Add(uint64_t{0x0102}).Finish(),
            Sha256Fields().Add(std::string_view("\x02\x01\0\0\0\0\0\0", 8)).Finish());
}

}  // namespace
}  // namespace tessera
