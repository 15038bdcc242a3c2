#include "worker/model/local_expert_dispatch.h"

namespace tessera::model {

LocalExpertDispatch::LocalExpertDispatch(const ComputeContext& context, int64_t num_experts)
    : context_(context), num_experts_(num_experts) {}

absl::Status LocalExpertDispatch::Start(int64_t, const RoutedRows& rows) {
  rows_ = rows;
  const auto num_slots = static_cast<int64_t>(rows.expert_ids.size());
  next_slot_.assign(static_cast<size_t>(num_experts_), 0);
  for (const int32_t expert : rows.expert_ids) ++next_slot_[expert];
  groups_.clear();
  int64_t first_slot = 0;
  for (int64_t expert = 0; expert < num_experts_; ++expert) {
    const int64_t count = next_slot_[expert];
    next_slot_[expert] = first_slot;
    if (count > 0) groups_.push_back({static_cast<int32_t>(expert), first_slot, count});
    first_slot += count;
  }
  x_rows_.resize(static_cast<size_t>(num_slots));
  slots_.resize(static_cast<size_t>(num_slots));
  for (int64_t i = 0; i < num_slots; ++i) {
    const int64_t slot = next_slot_[rows.expert_ids[i]]++;
    x_rows_[slot] = static_cast<int32_t>(i / rows.top_k);
    slots_[i] = static_cast<int32_t>(slot);
  }
  return absl::OkStatus();
}

absl::StatusOr<ExpertWork> LocalExpertDispatch::Wait() {
  return ExpertWork{rows_.x, x_rows_, groups_, static_cast<int64_t>(slots_.size())};
}

absl::Status LocalExpertDispatch::Combine(kernels::ConstMat expert_out, kernels::Mat out) {
  if (out.rows == 0) return absl::OkStatus();
  context_.table->moe_combine(*context_.stream, expert_out, slots_.data(), rows_.weights.data(),
                              rows_.top_k, out);
  return absl::OkStatus();
}

}  // namespace tessera::model
