#include "worker/model/moe_layer.h"

#include <algorithm>

#include "services/base/status_macros.h"
#include "worker/model/mlp.h"

namespace tessera::model {
namespace {

using kernels::ConstMat;
using kernels::GemmItem;
using kernels::Mat;

// Slots' activations are top_k times as many rows as the step has: rows beyond this are computed in
// a further slice.
constexpr int64_t kRowsPerSlice = 2048;
// A collective step is one slice: all ranks must agree on the number of exchanges.
static_assert(kMaxCollectiveRows <= kRowsPerSlice);

}  // namespace

MoeLayer::MoeLayer(const LanguageConfig& config, int64_t local_layer, const MoeWeights& weights,
                   const ComputeContext& context, Activations* activations)
    : local_layer_(local_layer),
      width_(config.moe_intermediate_size),
      weights_(weights),
      context_(context),
      activations_(activations) {
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

absl::Status MoeLayer::Forward(ExpertDispatch& dispatch, ConstMat x, Mat out) {
  Route(x);
  int64_t first = 0;
  do {  // once without rows: other ranks may want something computed
    const int64_t count = std::min(kRowsPerSlice, x.rows - first);
    TESSERA_RETURN_IF_ERROR(ForwardSlice(dispatch, {x.row(first), count, x.cols, x.stride}, first,
                                         out.row_range(first, count)));
    first += count;
  } while (first < x.rows);
  return absl::OkStatus();
}

// Always in float32: a rounded logit would move rows to other experts.
void MoeLayer::Route(ConstMat x) {
  activations_->expert_ids.resize(static_cast<size_t>(x.rows * gate_.top_k));
  activations_->expert_weights.resize(static_cast<size_t>(x.rows * gate_.top_k));
  if (x.rows == 0) return;
  const Mat logits = activations_->router_logits.Get(x.rows, gate_.num_experts);
  const GemmItem item{x, nullptr, &weights_.router, nullptr, logits};
  context_.table->gemm(*context_.stream, kernels::Compute::kF32, &item, 1);
  context_.table->gate(*context_.stream, gate_, logits, activations_->expert_ids.data(),
                       activations_->expert_weights.data());
}

absl::Status MoeLayer::ForwardSlice(ExpertDispatch& dispatch, ConstMat x, int64_t first_row,
                                    Mat out) {
  const auto first = static_cast<size_t>(first_row * gate_.top_k);
  const auto count = static_cast<size_t>(x.rows * gate_.top_k);
  TESSERA_RETURN_IF_ERROR(dispatch.Start(
      local_layer_,
      {x, absl::MakeConstSpan(activations_->expert_ids).subspan(first, count),
       absl::MakeConstSpan(activations_->expert_weights).subspan(first, count), gate_.top_k}));
  const bool has_shared = weights_.shared.has_value() && x.rows > 0;
  Mat shared_out;
  if (has_shared) shared_out = activations_->shared_out.Get(x.rows, x.cols);
  // While rows travel there is time for the shared experts; otherwise they ride along with the
  // routed ones. A row's bits do not depend on what shares its GEMM call.
  const bool shared_apart = has_shared && dispatch.collective();
  if (shared_apart) ApplyMlp(context_, *weights_.shared, x, activations_, shared_out);
  TESSERA_ASSIGN_OR_RETURN(const ExpertWork work, dispatch.Wait());
  const Mat expert_out = activations_->expert_out.Get(work.num_slots, x.cols);
  RunExperts(work, x, has_shared && !shared_apart ? &*weights_.shared : nullptr, expert_out,
             shared_out);
  // Each expert's output as a bf16 payload would carry it home, so that one rank and many give the
  // same bits.
  if (context_.compute == kernels::Compute::kBF16 && work.num_slots > 0) {
    context_.table->round_to_bf16(*context_.stream, expert_out);
  }
  TESSERA_RETURN_IF_ERROR(dispatch.Combine(expert_out, out));
  if (has_shared) context_.table->add(*context_.stream, shared_out, out);
  return absl::OkStatus();
}

// shared: rides along in the same two GEMM calls, as one more item; null: not here.
void MoeLayer::RunExperts(const ExpertWork& work, ConstMat x, const MlpWeights* shared,
                          Mat expert_out, Mat shared_out) {
  const Mat gate_up = activations_->expert_gate_up.Get(work.num_slots, 2 * width_);
  const Mat gated = activations_->expert_gated.Get(work.num_slots, width_);
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
  Gemm();
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
  Gemm();
}

void MoeLayer::Gemm() {
  if (items_.empty()) return;
  context_.table->gemm(*context_.stream, context_.compute, items_.data(),
                       static_cast<int64_t>(items_.size()));
}

}  // namespace tessera::model
