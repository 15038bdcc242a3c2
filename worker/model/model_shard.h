// One rank's part of the model: a range of layers with some of their experts, and on the first
// stage the ends of the model as well (vision tower, projector, embeddings, final norm, head).
//
// A whole model is the shard of all layers and all experts. A step runs through the stages as
//   first stage   Embed → RunLayers →(rows travel)→ RunLayers of the next stage … →
//   last stage    RunLayers with `outputs` →(the rows that logits are asked of travel back)→
//   first stage   Logits
// with the same bits as one RunLayers over all layers.
#ifndef TESSERA_WORKER_MODEL_MODEL_SHARD_H_
#define TESSERA_WORKER_MODEL_MODEL_SHARD_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/kernels.h"
#include "worker/model/compute_context.h"
#include "worker/model/expert_dispatch.h"
#include "worker/model/kv_observer.h"
#include "worker/model/model.h"
#include "worker/model/model_config.h"
#include "worker/model/step_batch.h"

namespace tessera::model {

struct ShardSpec {
  int64_t first_layer = 0;
  int64_t num_layers = -1;  // -1: all from first_layer on
  // Routed experts to load, ascending, the same in each MoE layer of the shard; empty: all.
  std::vector<int32_t> experts;
  bool holds_ends = true;  // tower, projector, embeddings, final norm, head
};

// Not thread safe: one caller at a time, but config, spec, kv_layout, weight_bytes and
// NumImageTokens may be called from any thread.
class ModelShard {
 public:
  // Reads only the tensors that the spec names. Errors as VlModel::Load; INVALID_ARGUMENT also for
  // a spec out of range.
  static absl::StatusOr<std::unique_ptr<ModelShard>> Load(const std::string& model_dir,
                                                          const LoadOptions& options,
                                                          const ShardSpec& spec);
  virtual ~ModelShard() = default;

  virtual const ModelConfig& config() const = 0;
  virtual const ShardSpec& spec() const = 0;  // num_layers resolved
  virtual KvLayout kv_layout() const = 0;     // num_layers: of this shard
  virtual int64_t weight_bytes() const = 0;
  // How the shard computes, for a dispatch that is to combine as it does. Of the thread that runs
  // the layers.
  virtual const ComputeContext& context() const = 0;

  // As VlModel.
  virtual int64_t NumImageTokens(int64_t tiles_across, int64_t tiles_down) const = 0;
  // With the ends only (FAILED_PRECONDITION otherwise); as VlModel.
  virtual absl::Status EncodeImage(const ImageTiles& image, kernels::Mat features,
                                   ForwardProbe* probe = nullptr) = 0;

  // Global ids of the experts that this rank holds in an MoE layer (local layer index), ascending;
  // empty for a dense layer. ExpertWork::Group::expert is an index into this list.
  virtual absl::Span<const int32_t> experts(int64_t local_layer) const = 0;
  // Loads an expert of a layer from the checkpoint (a no-op if it is here), or frees its memory.
  // Between steps only. NOT_FOUND: the layer is dense; INVALID_ARGUMENT: no such expert or layer.
  virtual absl::Status LoadExpert(int64_t local_layer, int32_t expert) = 0;
  virtual absl::Status DropExpert(int64_t local_layer, int32_t expert) = 0;

  // Where the MoE layers send their rows; outlives the shard or the next call. null: this rank
  // holds all experts and keeps its rows. Between steps only.
  virtual void SetExpertDispatch(ExpertDispatch* dispatch) = 0;
  virtual void SetKvObserver(KvObserver* observer) = 0;  // may be null; between steps only

  // Checks what VlModel::Forward checks of its sequences, against `layers` pages of this shard.
  virtual absl::Status CheckSequences(absl::Span<const StepSequence> sequences,
                                      absl::Span<const kernels::PagedKv> layers) const = 0;

  // The rows of a step, as all stages see them. Block tables belong to the sequences.
  virtual void BuildBatch(absl::Span<const StepSequence> sequences, StepBatch* batch,
                          OutputRows* outputs) const = 0;

  // A buffer of the shard for `rows` rows of the residual stream: [rows, hidden] float32, valid
  // until the next call of Residual or Embed.
  virtual kernels::Mat Residual(int64_t rows) = 0;

  // With the ends only. Token embeddings with pictures merged in, in the buffer of Residual.
  virtual kernels::Mat Embed(absl::Span<const StepSequence> sequences, const StepBatch& batch) = 0;

  // Runs this shard's layers over *hidden in place: [batch.rows(), hidden]. outputs: set on the
  // last stage only (with null all rows stay): *hidden becomes [outputs->rows, hidden], moved to
  // the front. layers: one PagedKv per local layer. With a collective dispatch it must be called on
  // all ranks of the stage, also with no rows, and with at most kMaxCollectiveRows rows. A probe
  // counts layers as the whole model does. INVALID_ARGUMENT: sizes disagree, too many rows;
  // FAILED_PRECONDITION: no dispatch, and experts of a layer are not here; else the dispatch's
  // error.
  virtual absl::Status RunLayers(const StepBatch& batch, const OutputRows* outputs,
                                 absl::Span<const kernels::PagedKv> layers, kernels::Mat* hidden,
                                 ForwardProbe* probe = nullptr) = 0;

  // With the ends only. Final norm and head: hidden [n, hidden] → logits [n, vocab]. INTERNAL as
  // VlModel::Forward; sequence_of: [n], the sequence index of each row, for that error.
  virtual absl::Status Logits(kernels::ConstMat hidden, absl::Span<const int32_t> sequence_of,
                              kernels::Mat logits) = 0;
};

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_MODEL_SHARD_H_
