// Every case of every golden model against the reference implementation, with each kernel table
// that this machine runs.
#include <iostream>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/kernels.h"
#include "kernels/thread_pool.h"
#include "services/cli/check/golden_files.h"
#include "services/cli/check/model_check.h"
#include "services/cli/check/report.h"

namespace tessera::model {
namespace {

const char kModels[] = TESSERA_FIXTURES "/golden/models";

using Param = std::tuple<std::string, std::string>;  // table, model

class ModelGolden : public testing::TestWithParam<Param> {
 protected:
  void ExpectAllPass(kernels::Compute compute) {
    const auto& [table, model] = GetParam();
    kernels::ThreadPool pool(2);
    check::Options options;
    options.compute = compute;
    options.table = kernels::KernelsByName(table);
    options.pool = &pool;
    check::Report report;
    const absl::Status status =
        check::CheckModel(std::string(kModels) + "/" + model, options, &report);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_FALSE(report.rows().empty());
    for (const check::Row& row : report.rows()) {
      EXPECT_TRUE(row.passed()) << row.quantity << ": " << row.worst << " in " << row.worst_case
                                << ", tolerance " << row.tolerance;
    }
    if (HasFailure()) report.Print(std::cout);
  }
};

// Vision rows, projector, embeddings, router, layer states, logits, greedy tokens, incremental
// prefill: README, section 2.
TEST_P(ModelGolden, Float32IsWithinTheToleranceOfTheReference) {
  ExpectAllPass(kernels::Compute::kF32);
}

// Cosines of states, and the first token where the reference's own bfloat16 keeps it.
TEST_P(ModelGolden, BFloat16StaysNearTheReference) { ExpectAllPass(kernels::Compute::kBF16); }

INSTANTIATE_TEST_SUITE_P(AllModels, ModelGolden,
                         testing::Combine(testing::ValuesIn(kernels::RunnableKernelNames()),
                                          testing::ValuesIn(check::ListFolder(kModels))),
                         [](const testing::TestParamInfo<Param>& info) {
                           return std::get<0>(info.param) + "_" + std::get<1>(info.param);
                         });

}  // namespace
}  // namespace tessera::model
