#include "worker/model/moe_layer.h"

#include <algorithm>

#include "services/base/status_macros.h"

namespace tessera::model {
namespace {

using kernels::ConstMat;
using kernels::GemmItem;
using kernels::Mat;

// Slots' activations are top_k times as many rows as the step has: rows beyond this are computed in
// a further slice.
constexpr int64_t kRowsPerSlice = 2048;

}  // namespace

MoeLayer::MoeLayer(const LanguageConfig& config, const MoeWeights& weights,
                   const ComputeContext& context, ExpertDispatch* dispatch,
                   Activations* activations)
    : weights_(weights), context_(context), dispatch_(dispatch), activations_(activations) {
  gate_.scoring = config.scoring;
  gate_.method = config.gate_method;
  gate_.num_experts = static_cast<int32_t>(*config.n_routed_experts);
  gate_.top_k = static_cast<int32_t>(config.num_experts_per_tok);
  gate_.num_groups = 1;
  gate_.top_k_groups = 1;
  if (config.gate_method != kernels::GateMethod::kGreedy) {
    gate_.num_groups = static_cast<int32_t>(config.n_group);
    gate_.top_k_groups = static_cast<int32_t>(config.topk_group);
  }
  gate_.norm_top_k_prob = config.norm_topk_prob;
  gate_.routed_scaling_factor = static_cast<float>(config.routed_scaling_factor);
  gate_.score_correction_bias =
      weights.correction_bias.empty() ? nullptr : weights.correction_bias.data();
}

absl::Status MoeLayer::Forward(ConstMat x, Mat out) {
  Route(x);
  for (int64_t first = 0; first < x.rows; first += kRowsPerSlice) {
    const int64_t count = std::min(kRowsPerSlice, x.rows - first);
    TESSERA_RETURN_IF_ERROR(
        ForwardSlice({x.row(first), count, x.cols, x.stride}, first, out.row_range(first, count)));
  }
  return absl::OkStatus();
}

// Always in float32: a rounded logit would move rows to other experts.
void MoeLayer::Route(ConstMat x) {
  const Mat logits = activations_->router_logits.Get(x.rows, gate_.num_experts);
  const GemmItem item{x, nullptr, &weights_.router, nullptr, logits};
  context_.table->gemm(*context_.stream, kernels::Compute::kF32, &item, 1);
  activations_->expert_ids.resize(static_cast<size_t>(x.rows * gate_.top_k));
  activations_->expert_weights.resize(static_cast<size_t>(x.rows * gate_.top_k));
  context_.table->gate(*context_.stream, gate_, logits, activations_->expert_ids.data(),
                       activations_->expert_weights.data());
}

absl::Status MoeLayer::ForwardSlice(ConstMat x, int64_t first_row, Mat out) {
  const auto first = static_cast<size_t>(first_row * gate_.top_k);
  const auto count = static_cast<size_t>(x.rows * gate_.top_k);
  TESSERA_ASSIGN_OR_RETURN(
      const ExpertWork work,
      dispatch_->Dispatch({x, absl::MakeConstSpan(activations_->expert_ids).subspan(first, count),
                           absl::MakeConstSpan(activations_->expert_weights).subspan(first, count),
                           gate_.top_k}));
  const Mat expert_out = activations_->expert_out.Get(work.num_slots, x.cols);
  Mat shared_out;
  if (weights_.shared.has_value()) shared_out = activations_->shared_out.Get(x.rows, x.cols);
  RunExperts(work, x, expert_out, shared_out);
  // Each expert's output as a bf16 payload would carry it home, so that one rank and many give the
  // same bits.
  if (context_.compute == kernels::Compute::kBF16 && work.num_slots > 0) {
    context_.table->round_to_bf16(*context_.stream, expert_out);
  }
  TESSERA_RETURN_IF_ERROR(dispatch_->Combine(expert_out, out));
  if (weights_.shared.has_value()) context_.table->add(*context_.stream, shared_out, out);
  return absl::OkStatus();
}

// Shared experts ride along in the same two GEMM calls, as one more item.
void MoeLayer::RunExperts(const ExpertWork& work, ConstMat x, Mat expert_out, Mat shared_out) {
  const MlpWeights* shared = weights_.shared.has_value() ? &*weights_.shared : nullptr;
  const int64_t width = weights_.experts.front().down.k;
  const Mat gate_up = activations_->expert_gate_up.Get(work.num_slots, 2 * width);
  const Mat gated = activations_->expert_gated.Get(work.num_slots, width);
  Mat shared_gate_up, shared_gated;

  items_.clear();
  if (shared != nullptr) {
    shared_gate_up = activations_->gate_up.Get(x.rows, shared->gate_up.n);
    shared_gated = activations_->gated.Get(x.rows, shared->down.k);
    items_.push_back({x, nullptr, &shared->gate_up, nullptr, shared_gate_up});
  }
  for (const ExpertWork::Group& group : work.groups) {
    items_.push_back({work.x, &work.x_rows[group.first_slot],
                      &weights_.experts[group.expert].gate_up, nullptr,
                      gate_up.row_range(group.first_slot, group.num_slots)});
  }
  context_.table->gemm(*context_.stream, context_.compute, items_.data(),
                       static_cast<int64_t>(items_.size()));
  if (shared != nullptr) context_.table->silu_mul(*context_.stream, shared_gate_up, shared_gated);
  if (work.num_slots > 0) context_.table->silu_mul(*context_.stream, gate_up, gated);

  items_.clear();
  if (shared != nullptr)
    items_.push_back({shared_gated, nullptr, &shared->down, nullptr, shared_out});
  for (const ExpertWork::Group& group : work.groups) {
    items_.push_back({gated.row_range(group.first_slot, group.num_slots), nullptr,
                      &weights_.experts[group.expert].down, nullptr,
                      expert_out.row_range(group.first_slot, group.num_slots)});
  }
  context_.table->gemm(*context_.stream, context_.compute, items_.data(),
                       static_cast<int64_t>(items_.size()));
}

}  // namespace tessera::model
