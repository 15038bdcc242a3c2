// A lead: the model that its engine calls, as one step of the group each time.
#ifndef TESSERA_WORKER_GROUP_LEAD_MODEL_H_
#define TESSERA_WORKER_GROUP_LEAD_MODEL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/kernels.h"
#include "worker/group/group_model.h"
#include "worker/group/rank_epoch.h"
#include "worker/group/stage_wire.h"
#include "worker/group/step_pieces.h"
#include "worker/model/model_shard.h"
#include "worker/model/step_batch.h"

namespace tessera::group {

class LeadModel final : public GroupModel {
 public:
  LeadModel(model::ModelShard& shard, const StepOptions& options);

  absl::Status Enter(GroupEpoch epoch) override;
  void Abort() override { epoch_.Abort(); }
  ExpertCounts TakeExpertCounts() override { return epoch_.TakeExpertCounts(); }
  bool AnyRankHadRows() const override { return any_rank_had_rows_; }
  uint64_t steps_of_epoch() const override { return steps_of_epoch_; }

  const model::ModelConfig& config() const override { return shard_.config(); }
  model::KvLayout kv_layout() const override { return shard_.kv_layout(); }
  int64_t weight_bytes() const override { return shard_.weight_bytes(); }
  int64_t NumImageTokens(int64_t tiles_across, int64_t tiles_down) const override {
    return shard_.NumImageTokens(tiles_across, tiles_down);
  }
  absl::Status EncodeImage(const model::ImageTiles& image, kernels::Mat features,
                           model::ForwardProbe* probe) override {
    return shard_.EncodeImage(image, features, probe);
  }
  absl::Status Forward(absl::Span<const model::StepSequence> sequences,
                       absl::Span<const kernels::PagedKv> layers, kernels::Mat logits,
                       model::ForwardProbe* probe) override;
  void SetKvObserver(model::KvObserver* observer) override { observer_ = observer; }

 private:
  // The arguments of the Forward under way.
  struct Step {
    absl::Span<const kernels::PagedKv> layers;
    kernels::Mat logits;
    model::ForwardProbe* probe = nullptr;
    absl::Status logits_status;  // the first that is not OK; ends nothing before its time
  };

  bool is_alone() const { return epoch_.shape().stages * epoch_.shape().columns == 1; }
  bool has_next_stage() const { return epoch_.shape().stages > 1; }

  absl::Status CheckArguments(absl::Span<const model::StepSequence> sequences,
                              const Step& step) const;
  // Micro-batches that this rank's rows want.
  int64_t WantedPieces(int64_t rows) const;
  // The largest number that any lead wants.
  absl::StatusOr<int64_t> Agree(int64_t wanted);

  absl::Status RunPieces(int64_t num_pieces, Step& step);
  // A micro-batch through the layers here; the rows that go on stay in hidden_.
  absl::Status RunPiece(int64_t piece, const Step& step);
  absl::Status SendPiece(const Step& step);
  absl::Status ReceiveResult(int64_t piece);  // into result_
  void ComputeLogits(int64_t piece, kernels::ConstMat hidden, Step& step);

  // Ends the epoch on a failure in the middle of a step: peers would wait for what does not come.
  absl::Status Break(const absl::Status& cause);

  model::ModelShard& shard_;
  const StepOptions options_;
  RankEpoch epoch_;
  model::KvObserver* observer_ = nullptr;
  bool any_rank_had_rows_ = false;
  std::atomic<uint64_t> steps_of_epoch_{0};

  // Of the step or the micro-batch.
  StepPieces pieces_;
  model::StepBatch batch_;
  model::OutputRows outputs_;
  kernels::Mat hidden_;
  std::vector<std::byte> piece_bytes_;
  std::vector<std::byte> result_;  // header, rows
  std::vector<std::byte> agreements_;
  uint64_t num_sent_ = 0;  // micro-batches, in this epoch
  uint64_t num_results_ = 0;
};

}  // namespace tessera::group

#endif  // TESSERA_WORKER_GROUP_LEAD_MODEL_H_
