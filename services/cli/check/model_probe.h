// Remembers what the goldens of a model case compare.
#ifndef TESSERA_SERVICES_CLI_CHECK_MODEL_PROBE_H_
#define TESSERA_SERVICES_CLI_CHECK_MODEL_PROBE_H_

#include <cstdint>
#include <map>
#include <vector>

#include "worker/model/model.h"

namespace tessera::check {

// For one pass over the whole prompt.
class ModelProbe : public model::ForwardProbe {
 public:
  explicit ModelProbe(int64_t mid_position) : mid_position_(mid_position) {}

  void OnVisionOutput(kernels::ConstMat rows) override { Append(rows, &vision_); }
  void OnProjectorOutput(kernels::ConstMat rows) override { Append(rows, &projector_); }
  void OnInputEmbeddings(kernels::ConstMat rows) override { Append(rows, &embeddings_); }
  void OnRouter(int64_t layer, absl::Span<const int32_t> ids,
                absl::Span<const float> weights) override;
  void OnLayerOutput(int64_t layer, kernels::ConstMat rows) override;
  void OnFinalNorm(kernels::ConstMat rows) override;
  bool WantsAllLogits() const override { return true; }
  void OnAllLogits(int64_t first_row, kernels::ConstMat logits) override;

  const std::vector<float>& vision() const {
    return vision_;
  }  // [all images' tiles * patches, width]
  const std::vector<float>& projector() const {
    return projector_;
  }  // [all images' tiles * side², hidden]
  const std::vector<float>& embeddings() const { return embeddings_; }  // [prompt, hidden]
  const std::map<int64_t, std::vector<int32_t>>& router_ids() const { return router_ids_; }
  const std::map<int64_t, std::vector<float>>& router_weights() const { return router_weights_; }
  const std::vector<float>& last_hidden() const { return last_hidden_; }  // [layers, hidden]
  const std::vector<float>& mid_hidden() const { return mid_hidden_; }    // [layers, hidden]
  const std::vector<float>& final_norm() const { return final_norm_; }    // [hidden], last row
  const std::vector<float>& mid_logits() const { return mid_logits_; }    // [vocab]
  const std::vector<int32_t>& arg_max() const { return arg_max_; }        // [prompt]

 private:
  static void Append(kernels::ConstMat rows, std::vector<float>* values);

  int64_t mid_position_;
  std::vector<float> vision_, projector_, embeddings_, last_hidden_, mid_hidden_, final_norm_,
      mid_logits_;
  std::map<int64_t, std::vector<int32_t>> router_ids_;
  std::map<int64_t, std::vector<float>> router_weights_;
  std::vector<int32_t> arg_max_;
};

}  // namespace tessera::check

#endif  // TESSERA_SERVICES_CLI_CHECK_MODEL_PROBE_H_
