#include "services/base/ids.h"

#include <gtest/gtest.h>

#include <type_traits>

#include "absl/container/flat_hash_set.h"

namespace tessera {
namespace {

TEST(StrongId, OrdersAndHashesByValue) {
  EXPECT_LT(BlockId(1), BlockId(2));
  EXPECT_EQ(WorkerId("a"), WorkerId("a"));
  const absl::flat_hash_set<RequestId> ids{RequestId("x"), RequestId("y"), RequestId("x")};
  EXPECT_EQ(ids.size(), 2u);
}

TEST(StrongId, DoesNotConvertBetweenKinds) {
  EXPECT_FALSE((std::is_convertible_v<WorkerId, RequestId>));
  EXPECT_FALSE((std::is_convertible_v<int32_t, BlockId>));
}

}  // namespace
}  // namespace tessera
