#include "services/base/check.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(Check, DoesNothingWhenTheConditionHolds) {
  int evaluated = 0;
  TESSERA_CHECK(++evaluated == 1) << "not printed";
  EXPECT_EQ(evaluated, 1);
}

TEST(CheckDeathTest, EndsTheProcessAndSaysWhatBroke) {
  EXPECT_DEATH(TESSERA_CHECK(1 + 1 == 3) << "block " << 7, "check failed: 1 \\+ 1 == 3 block 7");
}

TEST(Check, BindsToNoForeignElse) {
  bool reached = false;
  if (false)
    TESSERA_CHECK(true);
  else
    reached = true;
  EXPECT_TRUE(reached);
}

}  // namespace
}  // namespace tessera
