// A model, prompts for the columns of a group, and the logits that the whole model gives them.
#ifndef TESSERA_TESTS_WORKER_GROUP_GROUP_FIXTURE_H_
#define TESSERA_TESTS_WORKER_GROUP_GROUP_FIXTURE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/kernels.h"
#include "kernels/thread_pool.h"
#include "tests/worker/group/column_requests.h"
#include "tests/worker/group/rank_group.h"
#include "worker/model/model.h"

namespace tessera::group {

inline std::string FolderOf(const std::string& model) {
  return model == "nano" ? TESSERA_FIXTURES "/../../models/nano"
                         : TESSERA_FIXTURES "/golden/models/" + model;
}

class GroupFixture {
 public:
  GroupFixture(const std::string& model, kernels::Compute compute,
               const std::vector<int64_t>& lengths)
      : folder_(FolderOf(model)) {
    load_.table = kernels::BestCpuKernels();
    load_.compute = compute;
    model::LoadOptions options = load_;
    options.pool = &pool_;
    whole_ = *model::VlModel::Load(folder_, options);
    prompts_ = std::make_unique<Prompts>(language(), lengths);
    std::vector<const check::Prompt*> all;
    for (size_t i = 0; i < prompts_->size(); ++i) all.push_back(&(*prompts_)[i]);
    ColumnRequests requests(whole_->kv_layout(), language().vocab_size, all);
    while (!requests.done()) EXPECT_TRUE(requests.Step(*whole_, kMaxTokens).ok());
    for (size_t i = 0; i < all.size(); ++i) truth_.push_back(requests.logits(i));
  }

  const model::LanguageConfig& language() const { return whole_->config().language; }
  const Logits& truth(size_t prompt) const { return truth_[prompt]; }

  std::unique_ptr<RankGroup> MakeGroup(const GroupShape& shape, const StepOptions& steps = {}) {
    return std::make_unique<RankGroup>(folder_, load_, shape, steps);
  }

  // prompts_of[column]: indices. One ColumnRequests per column of the group.
  std::vector<std::unique_ptr<ColumnRequests>> MakeRequests(
      RankGroup& group, const std::vector<std::vector<size_t>>& prompts_of) {
    std::vector<std::unique_ptr<ColumnRequests>> columns;
    for (size_t column = 0; column < prompts_of.size(); ++column) {
      std::vector<const check::Prompt*> prompts;
      for (const size_t i : prompts_of[column]) prompts.push_back(&(*prompts_)[i]);
      columns.push_back(std::make_unique<ColumnRequests>(
          group.lead(static_cast<int64_t>(column)).kv_layout(), language().vocab_size, prompts));
    }
    return columns;
  }

  void ExpectTruth(const ColumnRequests& column, const std::vector<size_t>& prompts,
                   const std::string& what) const {
    for (size_t i = 0; i < prompts.size(); ++i) {
      ExpectSameBytes(column.logits(i), truth_[prompts[i]],
                      what + ", prompt " + std::to_string(prompts[i]));
    }
  }

 private:
  std::string folder_;
  model::LoadOptions load_;
  kernels::ThreadPool pool_{1};
  std::unique_ptr<model::VlModel> whole_;
  std::unique_ptr<Prompts> prompts_;
  std::vector<Logits> truth_;
};

}  // namespace tessera::group

#endif  // TESSERA_TESTS_WORKER_GROUP_GROUP_FIXTURE_H_
