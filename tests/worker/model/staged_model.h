// Shards run by hand as a group would run them: rows travel from stage to stage and back.
#ifndef TESSERA_TESTS_WORKER_MODEL_STAGED_MODEL_H_
#define TESSERA_TESTS_WORKER_MODEL_STAGED_MODEL_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "services/base/status_macros.h"
#include "worker/model/model.h"
#include "worker/model/model_shard.h"

namespace tessera::model {

// Runs its layers for a step without sequences too, as the ranks of a stage do together.
class StagedModel final : public VlModel {
 public:
  // In the order of their layers; the first has the ends.
  explicit StagedModel(std::vector<std::unique_ptr<ModelShard>> stages)
      : stages_(std::move(stages)) {}

  ModelShard& stage(size_t i) { return *stages_[i]; }
  const ModelConfig& config() const override { return stages_.front()->config(); }
  KvLayout kv_layout() const override {
    KvLayout layout = stages_.front()->kv_layout();
    layout.num_layers = config().language.num_hidden_layers;
    return layout;
  }
  int64_t weight_bytes() const override {
    int64_t bytes = 0;
    for (const auto& stage : stages_) bytes += stage->weight_bytes();
    return bytes;
  }
  int64_t NumImageTokens(int64_t tiles_across, int64_t tiles_down) const override {
    return stages_.front()->NumImageTokens(tiles_across, tiles_down);
  }
  absl::Status EncodeImage(const ImageTiles& image, kernels::Mat features,
                           ForwardProbe* probe) override {
    return stages_.front()->EncodeImage(image, features, probe);
  }

  absl::Status Forward(absl::Span<const StepSequence> sequences,
                       absl::Span<const kernels::PagedKv> layers, kernels::Mat logits,
                       ForwardProbe* probe) override {
    ModelShard& first = *stages_.front();
    StepBatch batch;
    OutputRows outputs;
    first.BuildBatch(sequences, &batch, &outputs);
    kernels::Mat hidden = first.Embed(sequences, batch);
    for (const auto& stage : stages_) {
      if (stage != stages_.front()) hidden = Travel(hidden, stage->Residual(hidden.rows));
      const auto pages = layers.subspan(static_cast<size_t>(stage->spec().first_layer),
                                        static_cast<size_t>(stage->spec().num_layers));
      TESSERA_RETURN_IF_ERROR(stage->CheckSequences(sequences, pages));
      TESSERA_RETURN_IF_ERROR(stage->RunLayers(batch, stage == stages_.back() ? &outputs : nullptr,
                                               pages, &hidden, probe));
    }
    std::vector<float> home(static_cast<size_t>(hidden.rows * hidden.cols));
    hidden = Travel(hidden, {home.data(), hidden.rows, hidden.cols, hidden.cols});
    return first.Logits(hidden, outputs.sequences, logits);
  }

 private:
  static kernels::Mat Travel(kernels::ConstMat from, kernels::Mat to) {
    for (int64_t row = 0; row < from.rows; ++row)
      std::copy_n(from.row(row), from.cols, to.row(row));
    return to;
  }

  std::vector<std::unique_ptr<ModelShard>> stages_;
};

}  // namespace tessera::model

#endif  // TESSERA_TESTS_WORKER_MODEL_STAGED_MODEL_H_
