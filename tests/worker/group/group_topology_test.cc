// Every topology gives the whole model's logits, byte for byte.
#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "tests/worker/group/column_requests.h"
#include "tests/worker/group/group_fixture.h"
#include "tests/worker/group/rank_group.h"
#include "worker/group/group_model.h"

namespace tessera::group {
namespace {

using Param = std::tuple<std::string, kernels::Compute>;  // model, compute

// Eight that decode together, one of some length, one with an image.
const std::vector<int64_t> kLengths = {1, 3, 5, 2, 4, 6, 1, 2, 37, 64};

std::vector<std::vector<size_t>> Share(int64_t columns) {
  if (columns == 1) return {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}};
  if (columns == 2) return {{0, 1, 2, 3, 4, 5, 6, 7}, {8, 9}};
  return {{0, 1, 2, 3, 4, 5, 6, 7}, {8}, {}, {9}};  // one is idle throughout
}

class GroupTopology : public testing::TestWithParam<Param> {
 protected:
  // All columns make as many steps as the slowest and one more, in which nobody has rows.
  void Run(const GroupShape& shape, int64_t chunk, int64_t micro_batches) {
    const std::string what = std::to_string(shape.stages) + "x" + std::to_string(shape.columns) +
                             ", chunks of " + std::to_string(chunk) + ", " +
                             std::to_string(micro_batches) + " micro-batches";
    StepOptions options;
    options.micro_batches = micro_batches;
    const auto group = fixture_.MakeGroup(shape, options);
    group->EnterAll();
    const auto prompts = Share(shape.columns);
    const auto requests = fixture_.MakeRequests(*group, prompts);
    const int64_t busy_steps = (64 + chunk - 1) / chunk + kDecodeSteps;
    OnThreads(group->all_columns(), [&](int64_t column) {
      for (int64_t step = 0; step <= busy_steps; ++step) {
        const absl::Status status =
            requests[static_cast<size_t>(column)]->Step(group->lead(column), chunk);
        EXPECT_TRUE(status.ok()) << what << ", step " << step << ": " << status;
        EXPECT_EQ(group->lead(column).AnyRankHadRows(), step < busy_steps) << what;
        if (!status.ok()) return;
      }
    });
    for (size_t column = 0; column < requests.size(); ++column)
      fixture_.ExpectTruth(*requests[column], prompts[column], what);
  }

  GroupFixture fixture_{std::get<0>(GetParam()), std::get<1>(GetParam()), kLengths};
};

TEST_P(GroupTopology, GivesTheBytesOfTheWholeModel) {
  for (const GroupShape shape : {GroupShape{1, 1}, GroupShape{1, 2}, GroupShape{1, 4},
                                 GroupShape{2, 1}, GroupShape{2, 2}, GroupShape{3, 1}}) {
    for (const int64_t chunk : {kMaxTokens, int64_t{7}}) {
      Run(shape, chunk, 1);
      if (shape.stages > 1) Run(shape, chunk, 3);
    }
  }
}

std::string NameOf(const testing::TestParamInfo<Param>& info) {
  return std::get<0>(info.param) +
         (std::get<1>(info.param) == kernels::Compute::kF32 ? "_f32" : "_bf16");
}

constexpr kernels::Compute kF32 = kernels::Compute::kF32;
constexpr kernels::Compute kBF16 = kernels::Compute::kBF16;

INSTANTIATE_TEST_SUITE_P(Few, GroupTopology,
                         testing::Values(Param("tiny_mha", kF32), Param("tiny_mha", kBF16),
                                         Param("noaux_groups", kBF16), Param("small_mla", kF32)),
                         NameOf);
INSTANTIATE_TEST_SUITE_P(Rest, GroupTopology,
                         testing::Values(Param("noaux_groups", kF32), Param("small_mla", kBF16),
                                         Param("group_limited", kF32),
                                         Param("group_limited", kBF16),
                                         Param("qlora_bias_p16", kBF16), Param("tied_gqa", kBF16),
                                         Param("nano", kF32), Param("nano", kBF16)),
                         NameOf);

}  // namespace
}  // namespace tessera::group
