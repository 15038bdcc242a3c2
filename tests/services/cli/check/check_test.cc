// `tessera check` as a user runs it: finds out what a folder is, passes on the reference's data,
// and says so when something is wrong.
#include "services/cli/check/check.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/kernels.h"
#include "kernels/thread_pool.h"
#include "services/cli/check/compare.h"
#include "services/cli/check/report.h"

namespace tessera::check {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr char kGolden[] = TESSERA_FIXTURES "/golden";

struct Outcome {
  absl::StatusOr<bool> passed;
  std::string text;
};

Outcome RunOn(const std::string& dir, kernels::Compute compute = kernels::Compute::kF32) {
  kernels::ThreadPool pool(2);
  Options options;
  options.compute = compute;
  options.table = kernels::BestCpuKernels();
  options.pool = &pool;
  std::ostringstream out;
  absl::StatusOr<bool> passed = Run(dir, options, out);
  return {std::move(passed), out.str()};
}

void ExpectPasses(const std::string& dir, const std::string& words) {
  const Outcome outcome = RunOn(dir);
  ASSERT_TRUE(outcome.passed.ok()) << outcome.passed.status();
  EXPECT_TRUE(*outcome.passed) << outcome.text;
  EXPECT_THAT(outcome.text, HasSubstr(words));
  EXPECT_THAT(outcome.text, Not(HasSubstr("FAIL")));
}

TEST(Check, PassesOnTokenizers) {
  ExpectPasses(std::string(kGolden) + "/tokenizers", "small_v2_raw");
}
TEST(Check, PassesOnSampling) { ExpectPasses(std::string(kGolden) + "/sampling", "kept ids"); }
TEST(Check, PassesOnGrounding) { ExpectPasses(std::string(kGolden) + "/grounding", "boxes"); }
TEST(Check, PassesOnOneModel) {
  ExpectPasses(std::string(kGolden) + "/models/qlora_bias_p16/", "incremental prefill");
}

// The pictures of the reference repository are not in the fixtures: their cases are skipped, and
// named.
TEST(Check, PassesOnTheProcessorAndNamesSkippedCases) {
  const Outcome outcome = RunOn(std::string(kGolden) + "/processor");
  ASSERT_TRUE(outcome.passed.ok()) << outcome.passed.status();
  EXPECT_TRUE(*outcome.passed) << outcome.text;
  EXPECT_THAT(outcome.text, HasSubstr("prompt ids"));
  EXPECT_THAT(outcome.text, HasSubstr("skipped  processor/"));
}

TEST(Check, RefusesFoldersThatAreNoGoldenData) {
  EXPECT_EQ(RunOn("/no/such/folder").passed.status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(RunOn(TESSERA_FIXTURES "/configs").passed.status().code(), absl::StatusCode::kNotFound);
}

TEST(Check, FailsOnAWrongExpectation) {
  std::string folder = testing::TempDir() + "tessera_check_XXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const std::string path = folder + "/cases.json";
  std::ofstream(path)
      << R"([{"logits":[1.0,3.0,2.0],"previous_ids":[],"temperature":1.0,"top_k":1,"top_p":1.0,)"
      << R"("repetition_penalty":1.0,"kept_ids":[2],"kept_probs":[1.0]}])";
  const Outcome outcome = RunOn(folder);
  ASSERT_TRUE(outcome.passed.ok()) << outcome.passed.status();
  EXPECT_FALSE(*outcome.passed);
  EXPECT_THAT(outcome.text, HasSubstr("FAIL (1 cases, worst: case 0)"));
  unlink(path.c_str());
  rmdir(folder.c_str());
}

TEST(Report, KeepsTheWorstCaseOfEachQuantity) {
  Report report;
  report.SetSubject("m");
  report.Add("logits", Measure::kAbsoluteError, 0.1, 0.05, "a");
  report.Add("logits", Measure::kAbsoluteError, 0.1, 0.2, "b");
  report.Add("states", Measure::kCosine, 0.99, 0.999, "a");
  ASSERT_EQ(report.rows().size(), 2u);
  EXPECT_EQ(report.rows()[0].worst_case, "b");
  EXPECT_EQ(report.rows()[0].failed, 1);
  EXPECT_TRUE(report.rows()[1].passed());
  EXPECT_FALSE(report.passed());
}

TEST(Report, NotANumberFails) {
  Report report;
  report.Add("logits", Measure::kAbsoluteError, 0.1, std::numeric_limits<double>::quiet_NaN(), "a");
  report.Add("states", Measure::kCosine, 0.99, std::numeric_limits<double>::quiet_NaN(), "a");
  EXPECT_FALSE(report.rows()[0].passed());
  EXPECT_FALSE(report.rows()[1].passed());
}

TEST(Compare, SizesThatDifferAreInfinitelyFar) {
  const float ours[] = {1, 2};
  const double theirs[] = {1};
  EXPECT_EQ(MaxAbsoluteError(ours, theirs), std::numeric_limits<double>::infinity());
  EXPECT_EQ(MinCosine(ours, theirs, 1), -std::numeric_limits<double>::infinity());
  const int32_t ids[] = {1, 2, 3};
  EXPECT_EQ(CountMismatches(ids, absl::MakeConstSpan(ids).subspan(0, 1)), 2);
}

TEST(Compare, MeasuresTheWorstElementAndRow) {
  const float ours[] = {1, 2, 0, 1};
  const double theirs[] = {1, 2.5, 1, 0};
  EXPECT_EQ(MaxAbsoluteError(ours, theirs), 1);
  EXPECT_EQ(MinCosine(ours, theirs, 2), 0);
}

}  // namespace
}  // namespace tessera::check
