#include "worker/service/block_log.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tessera::worker {
namespace {

Digest Hash(uint8_t value) {
  Digest digest{};
  digest[7] = value;
  digest[31] = 0xff;  // not part of the short hash
  return digest;
}

std::vector<std::pair<uint64_t, bool>> Changes(const BlockLog::Report& report) {
  std::vector<std::pair<uint64_t, bool>> changes;
  for (const auto& change : report.changes) changes.emplace_back(change.hash, change.dropped);
  return changes;
}

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

TEST(BlockLog, TheFirstReportIsFullAndTheNextAreChanges) {
  BlockLog log;
  log.Add(Hash(1), true);
  log.Add(Hash(2), true);
  log.Add(Hash(1), false);
  BlockLog::Report report = log.Take();
  EXPECT_TRUE(report.all);
  EXPECT_THAT(Changes(report), ElementsAre(Pair(2, false)));
  report = log.Take();
  EXPECT_FALSE(report.all);
  EXPECT_THAT(Changes(report), IsEmpty());
  log.Add(Hash(3), true);
  log.Add(Hash(2), false);
  log.Add(Hash(9), false);  // never known
  EXPECT_THAT(Changes(log.Take()), ElementsAre(Pair(3, false), Pair(2, true)));
}

TEST(BlockLog, TooManyChangesBecomeAFullReport) {
  BlockLog log(2);
  log.Take();
  for (uint8_t i = 1; i <= 4; ++i) log.Add(Hash(i), true);
  const BlockLog::Report report = log.Take();
  EXPECT_TRUE(report.all);
  EXPECT_THAT(Changes(report),
              UnorderedElementsAre(Pair(1, false), Pair(2, false), Pair(3, false), Pair(4, false)));
  EXPECT_FALSE(log.Take().all);
}

TEST(BlockLog, ALostReportIsMadeUpFor) {
  BlockLog log;
  log.Take();
  log.Add(Hash(1), true);
  log.Take();
  log.StartAnew();
  const BlockLog::Report report = log.Take();
  EXPECT_TRUE(report.all);
  EXPECT_THAT(Changes(report), ElementsAre(Pair(1, false)));
}

}  // namespace
}  // namespace tessera::worker
