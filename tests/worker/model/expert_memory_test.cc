#include "worker/model/expert_memory.h"

#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <fstream>

#include "gtest/gtest.h"

namespace tessera::model {
namespace {

constexpr int64_t kMiB = 1 << 20;

int64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t total = 0;
  int64_t resident = 0;
  statm >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

bool IsZero(const void* data, int64_t bytes) {
  const auto* first = static_cast<const uint8_t*>(data);
  return *first == 0 && std::memcmp(first, first + 1, static_cast<size_t>(bytes) - 1) == 0;
}

TEST(ExpertMemory, GivesAnExpertsPagesBackAlone) {
  constexpr int64_t kBytes = 40 * kMiB + 100;
  ExpertMemory memory;
  ASSERT_TRUE(memory.Reserve({{3, kBytes}, {7, kBytes}}).ok());
  for (const int32_t expert : {3, 7, 9}) {  // 9 came later
    auto data = memory.Allocate(expert, kBytes);
    ASSERT_TRUE(data.ok());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(*data) % 64, 0u);
    EXPECT_TRUE(IsZero(*data, kBytes));
    std::memset(*data, expert, kBytes);
  }
  EXPECT_EQ(memory.allocated_bytes(), 3 * kBytes);
  for (const int32_t expert : {3, 9}) {
    const int64_t before = ResidentBytes();
    memory.Free(expert);
    EXPECT_LT(ResidentBytes(), before - 36 * kMiB) << expert;
  }
  EXPECT_EQ(memory.allocated_bytes(), kBytes);
  memory.Free(3);  // holds none
  EXPECT_EQ(memory.allocated_bytes(), kBytes);

  auto again = memory.Allocate(3, kBytes);
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(IsZero(*again, kBytes));
}

TEST(ExpertMemory, NeighboursKeepTheirBytes) {
  ExpertMemory memory;
  ASSERT_TRUE(memory.Reserve({{0, 100}, {1, 5000}, {2, 64}}).ok());
  void* data[3];
  const int64_t bytes[3] = {100, 5000, 64};
  for (int32_t expert = 0; expert < 3; ++expert) {
    data[expert] = *memory.Allocate(expert, bytes[expert]);
    std::memset(data[expert], expert + 1, static_cast<size_t>(bytes[expert]));
  }
  memory.Free(1);
  EXPECT_EQ(*memory.Allocate(1, bytes[1]), data[1]);
  EXPECT_TRUE(IsZero(data[1], bytes[1]));
  EXPECT_EQ(static_cast<uint8_t*>(data[0])[99], 1);
  EXPECT_EQ(static_cast<uint8_t*>(data[2])[0], 3);
}

// A place that is too small is not used.
TEST(ExpertMemory, LargerThanReservedHasAMappingOfItsOwn) {
  ExpertMemory memory;
  ASSERT_TRUE(memory.Reserve({{0, 4096}}).ok());
  auto data = memory.Allocate(0, 8192);
  ASSERT_TRUE(data.ok());
  std::memset(*data, 1, 8192);
  memory.Free(0);
  EXPECT_EQ(memory.allocated_bytes(), 0);
  EXPECT_EQ(memory.Allocate(1, int64_t{1} << 62).status().code(),
            absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace tessera::model
