#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "kernels/kernels.h"

namespace tessera::kernels {
namespace {

TEST(Dispatch, ReferenceAlwaysRunsAndStandsLast) {
  ASSERT_NE(KernelsFor(Backend::kReference), nullptr);
  const std::vector<std::string> names = RunnableKernelNames();
  ASSERT_FALSE(names.empty());
  EXPECT_EQ(names.back(), "reference");
}

TEST(Dispatch, NamesFindTheirTables) {
  for (const std::string& name : RunnableKernelNames()) {
    const KernelTable* table = KernelsByName(name);
    ASSERT_NE(table, nullptr);
    EXPECT_EQ(table->name, name);
  }
  EXPECT_EQ(KernelsByName("auto"), BestCpuKernels());
  EXPECT_EQ(RunnableKernelNames().front(), BestCpuKernels()->name);
  EXPECT_EQ(KernelsByName("mmx"), nullptr);
  EXPECT_EQ(KernelsByName(""), nullptr);
}

TEST(Dispatch, BackendsThatCannotRunAreAbsentFromTheNames) {
  const std::vector<std::string> names = RunnableKernelNames();
  const auto listed = [&](const char* name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  EXPECT_EQ(KernelsFor(Backend::kCpuAvx2) != nullptr, listed("avx2"));
  EXPECT_EQ(KernelsFor(Backend::kCpuAvx512Bf16) != nullptr, listed("avx512bf16"));
  EXPECT_EQ(KernelsFor(Backend::kCpuGeneric) != nullptr, listed("generic"));
}

}  // namespace
}  // namespace tessera::kernels
