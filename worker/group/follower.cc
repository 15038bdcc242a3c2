// The ranks of later stages.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "worker/group/group_model.h"
#include "worker/group/rank_epoch.h"
#include "worker/group/stage_wire.h"
#include "worker/kv/kv.h"
#include "worker/kv/kv_rows.h"
#include "worker/model/model_shard.h"

namespace tessera::group {
namespace {

using kernels::Mat;

absl::Span<std::byte> BytesOf(Mat rows) {
  return {reinterpret_cast<std::byte*>(rows.data),
          static_cast<size_t>(rows.rows * rows.cols) * sizeof(float)};
}

class Follower final : public GroupFollower {
 public:
  Follower(model::ModelShard& shard, int64_t num_blocks, int64_t block_size_tokens,
           const StepOptions& options)
      : shard_(shard),
        hidden_size_(shard.config().language.hidden_size),
        bounds_{num_blocks, block_size_tokens, model::kMaxCollectiveRows,
                shard.config().language.max_position_embeddings},
        row_shape_(kv::RowShapeOf(shard.config().language, shard.kv_layout())),
        storage_(shard.kv_layout(), block_size_tokens, num_blocks),
        epoch_(shard, options.step_timeout) {}

  absl::Status Enter(GroupEpoch epoch) override;
  void Abort() override { epoch_.Abort(); }
  ExpertCounts TakeExpertCounts() override { return epoch_.TakeExpertCounts(); }
  absl::Status Run() override;
  absl::Status WriteRows(int64_t local_layer, absl::Span<const int32_t> blocks,
                         int64_t first_position, absl::Span<const std::byte> rows) override;

 private:
  bool is_last() const { return epoch_.place().stage + 1 == epoch_.shape().stages; }

  absl::Status RunPiece();
  absl::Status ReceivePiece();  // piece_bytes_, piece_, hidden_
  absl::Status SendOn();
  absl::Status SendResult();

  model::ModelShard& shard_;
  const int64_t hidden_size_;
  const StageBounds bounds_;
  const kv::RowShape row_shape_;
  const kv::KvStorage storage_;
  RankEpoch epoch_;
  uint64_t num_pieces_ = 0;  // in this epoch

  // Of the micro-batch.
  std::vector<std::byte> piece_bytes_;  // header, body
  StagePiece piece_;
  Mat hidden_;
  std::vector<std::byte> result_;
};

absl::Status Follower::Enter(GroupEpoch epoch) {
  num_pieces_ = 0;
  TESSERA_RETURN_IF_ERROR(epoch_.Enter(std::move(epoch)));
  if (epoch_.place().stage > 0) return absl::OkStatus();
  epoch_.Abort();
  return absl::InvalidArgumentError("epoch: stage 0; a follower is of a later one");
}

absl::Status Follower::Run() {
  if (!epoch_.stands()) return absl::CancelledError("group: no epoch stands");
  for (;;) {
    const absl::Status status = RunPiece();
    if (status.ok()) continue;
    epoch_.Abort();  // or peers wait for what does not come
    return status;
  }
}

absl::Status Follower::RunPiece() {
  TESSERA_RETURN_IF_ERROR(ReceivePiece());
  TESSERA_RETURN_IF_ERROR(shard_.RunLayers(piece_.batch, is_last() ? &piece_.outputs : nullptr,
                                           storage_.layers(), &hidden_));
  ++num_pieces_;
  return is_last() ? SendResult() : SendOn();
}

absl::Status Follower::ReceivePiece() {
  transport::Communicator& all = *epoch_.all();
  const int previous = epoch_.RankOfStage(epoch_.place().stage - 1);
  piece_bytes_.resize(kPieceHeaderBytes);
  // The next step may be days away.
  TESSERA_RETURN_IF_ERROR(all.Recv(previous, absl::MakeSpan(piece_bytes_), absl::InfiniteFuture()));
  TESSERA_ASSIGN_OR_RETURN(const int64_t body_bytes,
                           PieceBodyBytes(piece_bytes_, {epoch_.number(), num_pieces_}, bounds_));
  piece_bytes_.resize(static_cast<size_t>(kPieceHeaderBytes + body_bytes));
  if (body_bytes > 0) {
    TESSERA_RETURN_IF_ERROR(all.Recv(
        previous, absl::MakeSpan(piece_bytes_).subspan(kPieceHeaderBytes), epoch_.Deadline()));
  }
  TESSERA_RETURN_IF_ERROR(DecodePiece(piece_bytes_, bounds_, &piece_));
  hidden_ = shard_.Residual(piece_.batch.rows());
  if (hidden_.rows == 0) return absl::OkStatus();
  return all.Recv(previous, BytesOf(hidden_), epoch_.Deadline());
}

absl::Status Follower::SendOn() {
  transport::Communicator& all = *epoch_.all();
  const int next = epoch_.RankOfStage(epoch_.place().stage + 1);
  const absl::Span<const std::byte> bytes = absl::MakeConstSpan(piece_bytes_);
  TESSERA_RETURN_IF_ERROR(all.Send(next, bytes.subspan(0, kPieceHeaderBytes), epoch_.Deadline()));
  if (hidden_.rows == 0) return absl::OkStatus();
  TESSERA_RETURN_IF_ERROR(all.Send(next, bytes.subspan(kPieceHeaderBytes), epoch_.Deadline()));
  return all.Send(next, BytesOf(hidden_), epoch_.Deadline());
}

// Also without rows: the lead learns that K and V of the micro-batch are in the pages.
absl::Status Follower::SendResult() {
  const absl::Span<const std::byte> rows = BytesOf(hidden_);
  result_.resize(kResultHeaderBytes);
  EncodeResultHeader({epoch_.number(), num_pieces_ - 1}, hidden_.rows, absl::MakeSpan(result_));
  result_.insert(result_.end(), rows.begin(), rows.end());
  return epoch_.all()->Send(epoch_.RankOfStage(0), result_, epoch_.Deadline());
}

absl::Status Follower::WriteRows(int64_t local_layer, absl::Span<const int32_t> blocks,
                                 int64_t first_position, absl::Span<const std::byte> rows) {
  const auto num_layers = static_cast<int64_t>(storage_.layers().size());
  if (local_layer < 0 || local_layer >= num_layers) {
    return absl::InvalidArgumentError(
        absl::StrCat("rows: layer ", local_layer, "; must be in 0..", num_layers - 1));
  }
  const int64_t row_bytes = kv::RowBytes(row_shape_);
  const auto num_bytes = static_cast<int64_t>(rows.size());
  if (num_bytes % row_bytes != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("rows: ", num_bytes, " bytes; must be a multiple of ", row_bytes));
  }
  const int64_t positions = static_cast<int64_t>(blocks.size()) * bounds_.block_size_tokens;
  const int64_t num_rows = num_bytes / row_bytes;
  if (first_position < 0 || first_position > positions - num_rows) {
    return absl::InvalidArgumentError(absl::StrCat(
        "rows: ", num_rows, " from position ", first_position, "; the blocks hold ", positions));
  }
  for (const int32_t block : blocks) {
    if (block < 0 || block >= bounds_.num_blocks) {
      return absl::InvalidArgumentError(
          absl::StrCat("rows: block id ", block, "; must be in 0..", bounds_.num_blocks - 1));
    }
  }
  kv::WriteRows(storage_.layers()[static_cast<size_t>(local_layer)], row_shape_, blocks,
                first_position, num_rows, rows);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<GroupFollower>> GroupFollower::Create(model::ModelShard& shard,
                                                                     int64_t num_blocks,
                                                                     int64_t block_size_tokens,
                                                                     const StepOptions& options) {
  if (num_blocks < 1 || block_size_tokens < 1) {
    return absl::InvalidArgumentError(absl::StrCat("follower: ", num_blocks, " blocks of ",
                                                   block_size_tokens,
                                                   " tokens; both must be at least 1"));
  }
  return std::make_unique<Follower>(shard, num_blocks, block_size_tokens, options);
}

}  // namespace tessera::group
