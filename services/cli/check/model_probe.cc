#include "services/cli/check/model_probe.h"

#include "services/cli/check/model_runner.h"

namespace tessera::check {

void ModelProbe::Append(kernels::ConstMat rows, std::vector<float>* values) {
  for (int64_t i = 0; i < rows.rows; ++i)
    values->insert(values->end(), rows.row(i), rows.row(i) + rows.cols);
}

void ModelProbe::OnRouter(int64_t layer, absl::Span<const int32_t> ids,
                          absl::Span<const float> weights) {
  router_ids_[layer].assign(ids.begin(), ids.end());
  router_weights_[layer].assign(weights.begin(), weights.end());
}

void ModelProbe::OnLayerOutput(int64_t layer, kernels::ConstMat rows) {
  Append({rows.row(rows.rows - 1), 1, rows.cols, rows.stride}, &last_hidden_);
  if (mid_position_ < rows.rows)
    Append({rows.row(mid_position_), 1, rows.cols, rows.stride}, &mid_hidden_);
}

void ModelProbe::OnFinalNorm(kernels::ConstMat rows) {
  Append({rows.row(rows.rows - 1), 1, rows.cols, rows.stride}, &final_norm_);
}

void ModelProbe::OnAllLogits(int64_t first_row, kernels::ConstMat logits) {
  for (int64_t i = 0; i < logits.rows; ++i) {
    arg_max_.push_back(ArgMax({logits.row(i), static_cast<size_t>(logits.cols)}));
    if (first_row + i == mid_position_)
      Append({logits.row(i), 1, logits.cols, logits.stride}, &mid_logits_);
  }
}

}  // namespace tessera::check
