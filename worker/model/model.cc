#include "worker/model/model.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "worker/model/loaded_shard.h"
#include "worker/model/step_batch.h"

namespace tessera::model {
namespace {

using kernels::ConstMat;
using kernels::Mat;
using kernels::PagedKv;

// The whole model is the shard of everything.
class LoadedModel final : public VlModel {
 public:
  explicit LoadedModel(std::unique_ptr<LoadedShard> shard) : shard_(std::move(shard)) {}

  const ModelConfig& config() const override { return shard_->config(); }
  KvLayout kv_layout() const override { return shard_->kv_layout(); }
  int64_t weight_bytes() const override { return shard_->weight_bytes(); }
  int64_t NumImageTokens(int64_t tiles_across, int64_t tiles_down) const override {
    return shard_->NumImageTokens(tiles_across, tiles_down);
  }
  absl::Status EncodeImage(const ImageTiles& image, Mat features, ForwardProbe* probe) override {
    return shard_->EncodeImage(image, features, probe);
  }
  absl::Status Forward(absl::Span<const StepSequence> sequences, absl::Span<const PagedKv> layers,
                       Mat logits, ForwardProbe* probe) override;
  void SetKvObserver(KvObserver* observer) override { shard_->SetKvObserver(observer); }

 private:
  absl::Status CheckLogits(ConstMat logits) const;

  std::unique_ptr<LoadedShard> shard_;
  StepBatch batch_;  // of the step
  OutputRows outputs_;
};

absl::Status LoadedModel::CheckLogits(ConstMat logits) const {
  const auto wanted = static_cast<int64_t>(outputs_.rows.size());
  const int64_t vocab = config().language.vocab_size;
  if (wanted > 0 && (logits.rows != wanted || logits.cols != vocab)) {
    return absl::InvalidArgumentError(absl::StrCat("step: logits are [", logits.rows, ", ",
                                                   logits.cols, "]; must be [", wanted, ", ", vocab,
                                                   "]"));
  }
  return absl::OkStatus();
}

absl::Status LoadedModel::Forward(absl::Span<const StepSequence> sequences,
                                  absl::Span<const PagedKv> layers, Mat logits,
                                  ForwardProbe* probe) {
  TESSERA_RETURN_IF_ERROR(shard_->CheckSequences(sequences, layers));
  if (sequences.empty()) return absl::OkStatus();
  shard_->BuildBatch(sequences, &batch_, &outputs_);
  TESSERA_RETURN_IF_ERROR(CheckLogits(logits));
  Mat hidden = shard_->Embed(sequences, batch_);
  // A probe sees all rows to the end; otherwise the last layer drops those that no logits are asked
  // of.
  if (probe != nullptr) probe->OnInputEmbeddings(hidden);
  TESSERA_RETURN_IF_ERROR(
      shard_->RunLayers(batch_, probe == nullptr ? &outputs_ : nullptr, layers, &hidden, probe));
  if (probe != nullptr) {
    shard_->ShowFinalNorm(hidden, *probe);
    hidden = KeepRows(outputs_.rows, hidden);
  }
  if (hidden.rows == 0) return absl::OkStatus();
  return shard_->Logits(hidden, outputs_.sequences, logits);
}

}  // namespace

absl::StatusOr<std::unique_ptr<VlModel>> VlModel::Load(const std::string& model_dir,
                                                       const LoadOptions& options) {
  TESSERA_ASSIGN_OR_RETURN(std::unique_ptr<LoadedShard> shard,
                           LoadedShard::Load(model_dir, options, ShardSpec{}));
  return std::make_unique<LoadedModel>(std::move(shard));
}

}  // namespace tessera::model
