#include "worker/group/rank_epoch.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/base/status_macros.h"

namespace tessera::group {
namespace {

absl::Status CheckCommunicator(const char* name, const transport::Communicator* communicator,
                               int64_t rank, int64_t size) {
  if (communicator == nullptr) {
    if (size == 1) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("epoch: ", name, " is missing"));
  }
  if (communicator->rank() == rank && communicator->size() == size) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("epoch: ", name, " is rank ", communicator->rank(),
                                                 " of ", communicator->size(), "; must be rank ",
                                                 rank, " of ", size));
}

std::vector<int32_t> ExpertsOf(const std::vector<std::vector<int32_t>>& holders, int64_t column) {
  std::vector<int32_t> experts;
  for (size_t expert = 0; expert < holders.size(); ++expert) {
    if (std::binary_search(holders[expert].begin(), holders[expert].end(), column))
      experts.push_back(static_cast<int32_t>(expert));
  }
  return experts;
}

}  // namespace

RankEpoch::RankEpoch(model::ModelShard& shard, absl::Duration step_timeout)
    : shard_(shard), step_timeout_(step_timeout) {
  const model::LanguageConfig& language = shard.config().language;
  for (int64_t i = 0; i < shard.spec().num_layers; ++i) {
    experts_of_layer_.push_back(
        language.IsMoeLayer(shard.spec().first_layer + i) ? *language.n_routed_experts : 0);
    counts_.emplace_back(static_cast<size_t>(experts_of_layer_.back()), 0);
  }
}

RankEpoch::~RankEpoch() { End(); }

absl::Status RankEpoch::Enter(GroupEpoch epoch) {
  End();
  TESSERA_RETURN_IF_ERROR(Check(epoch));
  TESSERA_RETURN_IF_ERROR(MoveExperts(epoch));
  {
    std::lock_guard lock(mutex_);
    epoch_ = std::move(epoch);
    stands_.store(true, std::memory_order_release);
  }
  if (epoch_.shape.columns > 1) {
    dispatch_ = std::make_unique<AllToAllDispatch>(shard_, *epoch_.stage, epoch_.placement,
                                                   step_timeout_, &counts_);
  }
  shard_.SetExpertDispatch(dispatch_.get());
  return absl::OkStatus();
}

absl::Status RankEpoch::Check(const GroupEpoch& epoch) const {
  const auto& [stages, columns] = epoch.shape;
  const auto& [stage, column] = epoch.place;
  if (stages < 1 || columns < 1 || stage < 0 || stage >= stages || column < 0 ||
      column >= columns) {
    return absl::InvalidArgumentError(absl::StrCat("epoch: place (", stage, ", ", column,
                                                   ") in a group of ", stages, " stages by ",
                                                   columns, " columns"));
  }
  TESSERA_RETURN_IF_ERROR(
      CheckCommunicator("all", epoch.all.get(), stage * columns + column, stages * columns));
  TESSERA_RETURN_IF_ERROR(CheckCommunicator("stage", epoch.stage.get(), column, columns));
  return CheckPlacement(epoch.placement, experts_of_layer_, columns);
}

absl::Status RankEpoch::MoveExperts(const GroupEpoch& epoch) {
  const auto& holders = epoch.placement.holders;
  for (size_t layer = 0; layer < holders.size(); ++layer) {
    for (const int32_t expert : ExpertsOf(holders[layer], epoch.place.column))
      TESSERA_RETURN_IF_ERROR(shard_.LoadExpert(static_cast<int64_t>(layer), expert));
  }
  // Only now: if one cannot be loaded, the old placement can still be gone back to.
  for (size_t layer = 0; layer < holders.size(); ++layer) {
    const std::vector<int32_t> wanted = ExpertsOf(holders[layer], epoch.place.column);
    const absl::Span<const int32_t> held = shard_.experts(static_cast<int64_t>(layer));
    for (const int32_t expert : std::vector<int32_t>(held.begin(), held.end())) {
      if (std::binary_search(wanted.begin(), wanted.end(), expert)) continue;
      TESSERA_RETURN_IF_ERROR(shard_.DropExpert(static_cast<int64_t>(layer), expert));
    }
  }
  return absl::OkStatus();
}

void RankEpoch::End() {
  shard_.SetExpertDispatch(nullptr);
  dispatch_.reset();
  GroupEpoch ended;  // goes without the lock: to close connections may take a while
  std::lock_guard lock(mutex_);
  stands_.store(false, std::memory_order_release);
  std::swap(ended, epoch_);
}

void RankEpoch::Abort() {
  std::lock_guard lock(mutex_);
  stands_.store(false, std::memory_order_release);
  if (epoch_.all != nullptr) epoch_.all->Abort();
  if (epoch_.stage != nullptr) epoch_.stage->Abort();
}

ExpertCounts RankEpoch::TakeExpertCounts() {
  ExpertCounts taken = counts_;
  for (std::vector<uint64_t>& layer : counts_) std::fill(layer.begin(), layer.end(), 0);
  return taken;
}

int RankEpoch::RankOfStage(int64_t stage) const {
  return static_cast<int>(stage * epoch_.shape.columns + epoch_.place.column);
}

absl::Time RankEpoch::Deadline() const { return absl::Now() + step_timeout_; }

}  // namespace tessera::group
