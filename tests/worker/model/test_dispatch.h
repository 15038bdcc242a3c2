// Expert dispatches that behave as those of a group do, inside one process.
#ifndef TESSERA_TESTS_WORKER_MODEL_TEST_DISPATCH_H_
#define TESSERA_TESTS_WORKER_MODEL_TEST_DISPATCH_H_

#include <algorithm>
#include <array>
#include <barrier>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/thread_pool.h"
#include "worker/model/local_expert_dispatch.h"
#include "worker/model/model_shard.h"

namespace tessera::model {

// All experts here, yet every exchange is called for. Records the calls: "start 1", "wait",
// "combine".
class CollectiveOfOne final : public ExpertDispatch {
 public:
  CollectiveOfOne(const kernels::KernelTable* table, int64_t num_experts)
      : stream_(kernels::MakeCpuStream(pool_)),
        local_({table, stream_.get(), kernels::Compute::kF32}, num_experts) {}

  bool collective() const override { return true; }
  absl::Status Start(int64_t layer, const RoutedRows& rows) override {
    calls.push_back("start " + std::to_string(layer));
    return local_.Start(layer, rows);
  }
  absl::StatusOr<ExpertWork> Wait() override {
    calls.push_back("wait");
    return local_.Wait();
  }
  absl::Status Combine(kernels::ConstMat expert_out, kernels::Mat out) override {
    calls.push_back("combine");
    return local_.Combine(expert_out, out);
  }

  std::vector<std::string> calls;

 private:
  kernels::ThreadPool pool_{1};
  std::unique_ptr<kernels::Stream> stream_;
  LocalExpertDispatch local_;
};

// Two ranks of a stage, each on a thread of its own, hand rows to each other.
class PairExchange {
 public:
  class Rank final : public ExpertDispatch {
   public:
    Rank(PairExchange& pair, int number, const kernels::KernelTable* table)
        : pair_(pair), number_(number), table_(table), stream_(kernels::MakeCpuStream(pool_)) {}
    // Before the first step. The shard's experts are what this rank computes.
    void Serve(ModelShard& shard) {
      shard_ = &shard;
      shard.SetExpertDispatch(this);
    }

    bool collective() const override { return true; }
    absl::Status Start(int64_t layer, const RoutedRows& rows) override {
      layer_ = layer;
      Side& mine = pair_.sides_[number_];
      mine.rows = rows;
      mine.experts = shard_->experts(layer);
      mine.slots.assign(rows.expert_ids.size(), Slot{});
      return absl::OkStatus();
    }

    absl::StatusOr<ExpertWork> Wait() override {
      pair_.barrier_.arrive_and_wait();  // both have shown their rows
      // The other rank's slots are written as well: each (row, choice) by the one that computes it.
      std::map<int32_t, std::vector<std::pair<int, size_t>>> wanted;  // expert → (rank, choice)
      for (int rank = 0; rank < 2; ++rank) {
        const RoutedRows& rows = pair_.sides_[rank].rows;
        for (size_t i = 0; i < rows.expert_ids.size(); ++i) {
          if (Holds(rows.expert_ids[i])) wanted[rows.expert_ids[i]].emplace_back(rank, i);
        }
      }
      groups_.clear();
      x_rows_.clear();
      x_.clear();
      int64_t slot = 0;
      const int64_t cols = pair_.sides_[number_].rows.x.cols;
      for (const auto& [expert, choices] : wanted) {
        groups_.push_back({IndexOf(expert), slot, static_cast<int64_t>(choices.size())});
        for (const auto& [rank, choice] : choices) {
          Side& side = pair_.sides_[rank];
          const float* row = side.rows.x.row(static_cast<int64_t>(choice) / side.rows.top_k);
          x_.insert(x_.end(), row, row + cols);
          x_rows_.push_back(static_cast<int32_t>(slot));
          side.slots[choice] = {number_, slot++};
        }
      }
      return ExpertWork{{x_.data(), slot, cols, cols}, x_rows_, groups_, slot};
    }

    absl::Status Combine(kernels::ConstMat expert_out, kernels::Mat out) override {
      Side& mine = pair_.sides_[number_];
      mine.expert_out = expert_out;
      pair_.barrier_.arrive_and_wait();  // both have computed
      std::vector<float> gathered;
      std::vector<int32_t> slots;
      for (const Slot& slot : mine.slots) {
        const float* row = pair_.sides_[slot.rank].expert_out.row(slot.slot);
        slots.push_back(static_cast<int32_t>(slots.size()));
        gathered.insert(gathered.end(), row, row + out.cols);
      }
      if (out.rows > 0) {
        table_->moe_combine(
            *stream_, {gathered.data(), static_cast<int64_t>(slots.size()), out.cols, out.cols},
            slots.data(), mine.rows.weights.data(), mine.rows.top_k, out);
      }
      pair_.barrier_.arrive_and_wait();  // both have read
      return absl::OkStatus();
    }

   private:
    bool Holds(int32_t expert) const {
      const auto& held = pair_.sides_[number_].experts;
      return std::binary_search(held.begin(), held.end(), expert);
    }
    int32_t IndexOf(int32_t expert) const {
      const auto& held = pair_.sides_[number_].experts;
      return static_cast<int32_t>(std::lower_bound(held.begin(), held.end(), expert) -
                                  held.begin());
    }

    PairExchange& pair_;
    int number_;
    const kernels::KernelTable* table_;
    kernels::ThreadPool pool_{1};
    std::unique_ptr<kernels::Stream> stream_;
    ModelShard* shard_ = nullptr;
    int64_t layer_ = 0;
    std::vector<ExpertWork::Group> groups_;
    std::vector<int32_t> x_rows_;
    std::vector<float> x_;
  };

  explicit PairExchange(const kernels::KernelTable* table)
      : ranks_{std::make_unique<Rank>(*this, 0, table), std::make_unique<Rank>(*this, 1, table)} {}
  Rank& rank(int number) { return *ranks_[number]; }

 private:
  struct Slot {
    int rank = 0;
    int64_t slot = 0;
  };
  struct Side {
    RoutedRows rows;
    absl::Span<const int32_t> experts;
    std::vector<Slot> slots;  // [rows, top_k]: where the choice is computed
    kernels::ConstMat expert_out;
  };

  std::barrier<> barrier_{2};
  std::array<Side, 2> sides_;
  std::array<std::unique_ptr<Rank>, 2> ranks_;
};

}  // namespace tessera::model

#endif  // TESSERA_TESTS_WORKER_MODEL_TEST_DISPATCH_H_
