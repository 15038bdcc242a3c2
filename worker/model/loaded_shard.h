// The shard over weights in this process's memory.
#ifndef TESSERA_WORKER_MODEL_LOADED_SHARD_H_
#define TESSERA_WORKER_MODEL_LOADED_SHARD_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "worker/model/compute_context.h"
#include "worker/model/image_encoder.h"
#include "worker/model/language_ends.h"
#include "worker/model/language_model.h"
#include "worker/model/model_shard.h"
#include "worker/model/safetensors.h"
#include "worker/model/weights.h"

namespace tessera::model {

class LoadedShard final : public ModelShard {
 public:
  // As ModelShard::Load.
  static absl::StatusOr<std::unique_ptr<LoadedShard>> Load(const std::string& model_dir,
                                                           const LoadOptions& options,
                                                           const ShardSpec& spec);

  // spec: num_layers resolved; weights: what it names, out of the checkpoint.
  LoadedShard(ModelConfig config, ShardSpec spec, std::unique_ptr<Checkpoint> checkpoint,
              ShardWeights weights, const LoadOptions& options);

  const ModelConfig& config() const override { return config_; }
  const ShardSpec& spec() const override { return spec_; }
  KvLayout kv_layout() const override { return layers_.kv_layout(); }
  int64_t weight_bytes() const override { return weight_bytes_; }
  const ComputeContext& context() const override { return context_; }

  int64_t NumImageTokens(int64_t tiles_across, int64_t tiles_down) const override {
    return LayoutOfImage(config_, tiles_across, tiles_down).num_rows();
  }
  absl::Status EncodeImage(const ImageTiles& image, kernels::Mat features,
                           ForwardProbe* probe) override;

  absl::Span<const int32_t> experts(int64_t local_layer) const override;
  absl::Status LoadExpert(int64_t local_layer, int32_t expert) override;
  absl::Status DropExpert(int64_t local_layer, int32_t expert) override;

  void SetExpertDispatch(ExpertDispatch* dispatch) override { layers_.SetExpertDispatch(dispatch); }
  void SetKvObserver(KvObserver* observer) override { layers_.SetKvObserver(observer); }

  absl::Status CheckSequences(absl::Span<const StepSequence> sequences,
                              absl::Span<const kernels::PagedKv> layers) const override;
  void BuildBatch(absl::Span<const StepSequence> sequences, StepBatch* batch,
                  OutputRows* outputs) const override;
  kernels::Mat Residual(int64_t rows) override { return layers_.Residual(rows); }
  kernels::Mat Embed(absl::Span<const StepSequence> sequences, const StepBatch& batch) override;
  absl::Status RunLayers(const StepBatch& batch, const OutputRows* outputs,
                         absl::Span<const kernels::PagedKv> layers, kernels::Mat* hidden,
                         ForwardProbe* probe) override;
  absl::Status Logits(kernels::ConstMat hidden, absl::Span<const int32_t> sequence_of,
                      kernels::Mat logits) override;

  // With the ends only: a probe sees the final norm of all rows, and their logits if it wants them.
  void ShowFinalNorm(kernels::ConstMat hidden, ForwardProbe& probe);

 private:
  // Of an MoE layer; NOT_FOUND: a dense one; INVALID_ARGUMENT: no such layer or expert.
  absl::StatusOr<MoeWeights*> FindMoe(int64_t local_layer, int32_t expert);
  void CountBytes();

  ModelConfig config_;
  ShardSpec spec_;
  std::unique_ptr<Checkpoint> checkpoint_;  // holds the embedding table, and experts to load later
  ShardWeights weights_;
  LoadOptions options_;  // without progress
  std::unique_ptr<kernels::Stream> stream_;
  ComputeContext context_;
  LanguageModel layers_;
  std::optional<ImageEncoder> image_encoder_;  // these two with the ends only
  std::optional<LanguageEnds> language_ends_;
  std::atomic<int64_t> weight_bytes_ = 0;
};

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_LOADED_SHARD_H_
