#include "worker/group/lead_model.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "services/base/check.h"
#include "services/base/status_macros.h"
#include "worker/engine/step_group.h"

namespace tessera::group {
namespace {

using kernels::ConstMat;
using kernels::Mat;
using model::StepSequence;

constexpr uint64_t kAgreementMagic = 0x3170657453754754;  // "TGuStep1"

// What each lead tells the others at the begin of a step.
struct Agreement {
  uint64_t magic = kAgreementMagic;
  uint64_t epoch = 0;
  int64_t pieces = 0;
};

absl::Status GroupBroken(absl::string_view why) {
  absl::Status status = absl::UnavailableError(absl::StrCat("group: ", why));
  status.SetPayload(engine::kGroupBrokenPayload, absl::Cord());
  return status;
}

absl::Span<const std::byte> BytesOf(ConstMat rows) {
  TESSERA_CHECK(rows.stride == rows.cols) << rows.stride;
  return {reinterpret_cast<const std::byte*>(rows.data),
          static_cast<size_t>(rows.rows * rows.cols) * sizeof(float)};
}

}  // namespace

std::unique_ptr<GroupModel> GroupModel::Create(model::ModelShard& shard,
                                               const StepOptions& options) {
  return std::make_unique<LeadModel>(shard, options);
}

LeadModel::LeadModel(model::ModelShard& shard, const StepOptions& options)
    : shard_(shard), options_(options), epoch_(shard, options.step_timeout) {
  TESSERA_CHECK(shard.spec().holds_ends && shard.spec().first_layer == 0)
      << "a lead holds the first stage";
}

absl::Status LeadModel::Enter(GroupEpoch epoch) {
  num_sent_ = num_results_ = 0;
  steps_of_epoch_ = 0;
  TESSERA_RETURN_IF_ERROR(epoch_.Enter(std::move(epoch)));
  if (epoch_.place().stage == 0) return absl::OkStatus();
  const int64_t stage = epoch_.place().stage;
  epoch_.Abort();
  return absl::InvalidArgumentError(absl::StrCat("epoch: stage ", stage, "; a lead is of stage 0"));
}

absl::Status LeadModel::Break(const absl::Status& cause) {
  epoch_.Abort();
  return GroupBroken(cause.ToString());
}

absl::Status LeadModel::Forward(absl::Span<const StepSequence> sequences,
                                absl::Span<const kernels::PagedKv> layers, Mat logits,
                                model::ForwardProbe* probe) {
  if (!epoch_.stands()) return GroupBroken("no epoch stands");
  Step step{layers, logits, probe, absl::OkStatus()};
  // Bad arguments are this rank's affair: it takes its part in the step all the same, without the
  // rows, but says that it has some, since the caller counts on the peers' next step.
  const absl::Status checked = CheckArguments(sequences, step);
  if (is_alone() && !checked.ok()) return checked;
  const absl::Span<const StepSequence> sound =
      checked.ok() ? sequences : absl::Span<const StepSequence>();
  int64_t wanted = WantedPieces(CountRows(sound));
  pieces_.Cut(sound, wanted);
  if (!checked.ok() && !sequences.empty()) wanted = 1;
  absl::StatusOr<int64_t> agreed = Agree(wanted);
  if (!agreed.ok()) return Break(agreed.status());
  any_rank_had_rows_ = *agreed > 0;
  ++steps_of_epoch_;
  const absl::Status status = RunPieces(*agreed, step);
  shard_.SetKvObserver(nullptr);
  if (!status.ok()) return is_alone() ? status : Break(status);
  return checked.ok() ? step.logits_status : checked;
}

absl::Status LeadModel::CheckArguments(absl::Span<const StepSequence> sequences,
                                       const Step& step) const {
  TESSERA_RETURN_IF_ERROR(shard_.CheckSequences(sequences, step.layers));
  const int64_t wanted = CountOutputs(sequences);
  const int64_t vocab = config().language.vocab_size;
  if (wanted > 0 && (step.logits.rows != wanted || step.logits.cols != vocab)) {
    return absl::InvalidArgumentError(absl::StrCat("step: logits are [", step.logits.rows, ", ",
                                                   step.logits.cols, "]; must be [", wanted, ", ",
                                                   vocab, "]"));
  }
  return absl::OkStatus();
}

int64_t LeadModel::WantedPieces(int64_t rows) const {
  if (rows == 0) return 0;
  if (is_alone()) return 1;
  const int64_t needed = (rows + model::kMaxCollectiveRows - 1) / model::kMaxCollectiveRows;
  if (!has_next_stage()) return needed;
  return std::max(needed, std::min(std::max<int64_t>(options_.micro_batches, 1), rows));
}

absl::StatusOr<int64_t> LeadModel::Agree(int64_t wanted) {
  if (epoch_.shape().columns == 1) return wanted;
  Agreement mine;
  mine.epoch = epoch_.number();
  mine.pieces = wanted;
  agreements_.resize(static_cast<size_t>(epoch_.shape().columns) * sizeof(Agreement));
  TESSERA_RETURN_IF_ERROR(
      epoch_.stage()->AllGather({reinterpret_cast<const std::byte*>(&mine), sizeof mine},
                                absl::MakeSpan(agreements_), epoch_.Deadline()));
  int64_t agreed = 0;
  for (int64_t column = 0; column < epoch_.shape().columns; ++column) {
    Agreement theirs;
    std::memcpy(&theirs, &agreements_[static_cast<size_t>(column) * sizeof theirs], sizeof theirs);
    if (theirs.magic != mine.magic || theirs.epoch != mine.epoch || theirs.pieces < 0) {
      return absl::InternalError(absl::StrCat("column ", column, " agrees on a step of epoch ",
                                              theirs.epoch, "; this one is of epoch ", mine.epoch));
    }
    agreed = std::max(agreed, theirs.pieces);
  }
  return agreed;
}

// A result is taken when as many micro-batches are under way as there are later stages, before the
// next one is sent: so each stage has one to work on, and none waits to hand on its own to a stage
// that waits in turn.
absl::Status LeadModel::RunPieces(int64_t num_pieces, Step& step) {
  const int64_t later_stages = epoch_.shape().stages - 1;
  const int64_t num_turns = num_pieces == 0 ? 0 : num_pieces + later_stages;
  for (int64_t turn = 0; turn < num_turns; ++turn) {
    const bool runs = turn < num_pieces;
    const int64_t done = turn - later_stages;
    if (runs) TESSERA_RETURN_IF_ERROR(RunPiece(turn, step));
    if (!has_next_stage()) {
      ComputeLogits(turn, hidden_, step);
      continue;
    }
    if (done >= 0) TESSERA_RETURN_IF_ERROR(ReceiveResult(done));
    if (runs) TESSERA_RETURN_IF_ERROR(SendPiece(step));
    if (done < 0) continue;
    const int64_t hidden = config().language.hidden_size;
    ComputeLogits(done,
                  {reinterpret_cast<const float*>(result_.data() + kResultHeaderBytes),
                   pieces_.num_outputs(done), hidden, hidden},
                  step);
  }
  return absl::OkStatus();
}

absl::Status LeadModel::RunPiece(int64_t piece, const Step& step) {
  const absl::Span<const StepSequence> sequences = pieces_.sequences(piece);
  shard_.BuildBatch(sequences, &batch_, &outputs_);
  hidden_ = shard_.Embed(sequences, batch_);
  if (step.probe != nullptr) step.probe->OnInputEmbeddings(hidden_);
  // "Written" is said of a layer with all rows of the step in it.
  shard_.SetKvObserver(piece == pieces_.size() - 1 ? observer_ : nullptr);
  // A probe sees all rows to the end.
  const bool drops_rows = !has_next_stage() && step.probe == nullptr;
  TESSERA_RETURN_IF_ERROR(shard_.RunLayers(batch_, drops_rows ? &outputs_ : nullptr, step.layers,
                                           &hidden_, step.probe));
  if (!has_next_stage() && !drops_rows) hidden_ = model::KeepRows(outputs_.rows, hidden_);
  return absl::OkStatus();
}

absl::Status LeadModel::SendPiece(const Step& step) {
  const kernels::PagedKv& pages = step.layers.front();
  const StageBounds bounds{pages.num_blocks, pages.block_size_tokens, model::kMaxCollectiveRows,
                           config().language.max_position_embeddings};
  EncodePiece(batch_, outputs_, {epoch_.number(), num_sent_++}, bounds, &piece_bytes_);
  const absl::Span<const std::byte> bytes = absl::MakeConstSpan(piece_bytes_);
  const absl::Span<const std::byte> body = bytes.subspan(kPieceHeaderBytes);
  const int next = epoch_.RankOfStage(1);
  TESSERA_RETURN_IF_ERROR(
      epoch_.all()->Send(next, bytes.subspan(0, kPieceHeaderBytes), epoch_.Deadline()));
  if (body.empty()) return absl::OkStatus();
  TESSERA_RETURN_IF_ERROR(epoch_.all()->Send(next, body, epoch_.Deadline()));
  return epoch_.all()->Send(next, BytesOf(hidden_), epoch_.Deadline());
}

absl::Status LeadModel::ReceiveResult(int64_t piece) {
  const int64_t rows = pieces_.num_outputs(piece);
  result_.resize(static_cast<size_t>(kResultHeaderBytes +
                                     rows * config().language.hidden_size * sizeof(float)));
  const int64_t later_stages = epoch_.shape().stages - 1;
  // It may have all of the later stages before it.
  TESSERA_RETURN_IF_ERROR(epoch_.all()->Recv(epoch_.RankOfStage(later_stages),
                                             absl::MakeSpan(result_),
                                             absl::Now() + later_stages * options_.step_timeout));
  return CheckResultHeader(absl::MakeConstSpan(result_).subspan(0, kResultHeaderBytes),
                           {epoch_.number(), num_results_++}, rows);
}

void LeadModel::ComputeLogits(int64_t piece, ConstMat hidden, Step& step) {
  if (hidden.rows == 0) return;
  const int64_t first = pieces_.first_output(piece);
  const absl::Status status =
      shard_.Logits(hidden,
                    pieces_.output_sequences().subspan(static_cast<size_t>(first),
                                                       static_cast<size_t>(hidden.rows)),
                    step.logits.row_range(first, hidden.rows));
  if (step.logits_status.ok()) step.logits_status = status;
}

}  // namespace tessera::group
