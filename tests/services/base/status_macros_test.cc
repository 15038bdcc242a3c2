#include "services/base/status_macros.h"

#include <gtest/gtest.h>

#include <memory>

namespace tessera {
namespace {

absl::StatusOr<std::unique_ptr<int>> Half(int value) {
  if (value % 2 != 0) {
    return absl::InvalidArgumentError("odd");
  }
  return std::make_unique<int>(value / 2);
}

absl::StatusOr<int> Quarter(int value) {
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<int> half, Half(value));
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<int> quarter, Half(*half));
  return *quarter;
}

absl::Status Check(int value) {
  TESSERA_RETURN_IF_ERROR(Quarter(value).status());
  return absl::OkStatus();
}

TEST(StatusMacros, PassValuesOnAndReturnTheFirstError) {
  EXPECT_EQ(*Quarter(12), 3);
  EXPECT_EQ(Quarter(6).status(), absl::InvalidArgumentError("odd"));
  EXPECT_TRUE(Check(8).ok());
  EXPECT_EQ(Check(3), absl::InvalidArgumentError("odd"));
}

}  // namespace
}  // namespace tessera
