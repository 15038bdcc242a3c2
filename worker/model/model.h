// The DeepSeek-VL2 model: vision tower, projector, 2-D tile layout and the DeepSeekMoE language
// model, over kernels/.
//
// The model keeps no request state. KV lives in pages that the caller owns (worker/kv) and hands
// in; images are encoded once and their features handed back in as embeddings. Everything here is
// deterministic in the sense of kernels.h: a row's bits do not depend on its batch, its chunk or
// the thread count.
#ifndef TESSERA_WORKER_MODEL_MODEL_H_
#define TESSERA_WORKER_MODEL_MODEL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/kernels.h"
#include "worker/model/kv_observer.h"
#include "worker/model/model_config.h"

namespace tessera::model {

// Loading progress in bytes of weights; called on the loading thread, a few times a second at most.
using LoadProgress = std::function<void(int64_t loaded_bytes, int64_t total_bytes)>;

struct LoadOptions {
  kernels::Compute compute = kernels::Compute::kBF16;
  // Table and pool outlive the model. The pool is used by one thread at a time: the loader, then
  // whoever calls the model.
  const kernels::KernelTable* table = nullptr;
  kernels::ThreadPool* pool = nullptr;
  LoadProgress progress;  // may be empty
};

// What the pages of one layer must look like; the same for all layers.
struct KvLayout {
  kernels::DType dtype = kernels::DType::kBF16;  // kF32 with Compute::kF32
  int64_t num_layers = 0;
  int64_t row_elements = 0;  // MHA: 2 * kv_heads * head_dim; MLA: latent + rope
  int64_t BlockBytes(int64_t block_size_tokens) const {  // of one layer
    return block_size_tokens * row_elements * kernels::SizeOf(dtype);
  }
};

// One prepared image: uint8 tiles [num_tiles, 3, side, side], the global view first, then local
// tiles row by row.
struct ImageTiles {
  absl::Span<const uint8_t> pixels;
  int64_t num_tiles = 0;     // 1 + tiles_across * tiles_down
  int64_t tiles_across = 0;  // >= 1
  int64_t tiles_down = 0;    // >= 1
};

// Rows of `features` replace the embeddings of rows [first_row, first_row + features.rows) of the
// sequence's chunk.
struct EmbeddingSpan {
  int64_t first_row = 0;
  kernels::ConstMat features;  // [rows, hidden]
};

// One sequence's part of a step: `token_ids` stand at positions first_position, first_position + 1,
// …
struct StepSequence {
  absl::Span<const int32_t> token_ids;
  int64_t first_position = 0;
  absl::Span<const int32_t>
      block_table;  // block ids for positions 0 … first_position + token_ids.size() - 1
  std::vector<EmbeddingSpan> images;  // sorted, disjoint
  bool wants_logits = false;          // of its last row
};

// Watches a forward pass (tessera check, tests). All hooks run on the calling thread; matrices are
// valid during the call only.
class ForwardProbe {
 public:
  virtual ~ForwardProbe() = default;
  virtual void OnVisionOutput(kernels::ConstMat rows) {
  }  // [tiles * patches, vision width], after the final norm
  virtual void OnProjectorOutput(kernels::ConstMat rows) {}  // [tiles * h * w, hidden]
  virtual void OnInputEmbeddings(kernels::ConstMat rows) {}  // [step rows, hidden], images merged
  // layer: of the whole model.  ids, weights: [step rows, top_k], ids ascending per row
  virtual void OnRouter(int64_t layer, absl::Span<const int32_t> ids,
                        absl::Span<const float> weights) {}
  virtual void OnLayerOutput(int64_t layer, kernels::ConstMat rows) {
  }  // residual stream [step rows, hidden]
  virtual void OnFinalNorm(kernels::ConstMat rows) {
  }  // [step rows, hidden]; only when a probe is set for all rows
  virtual bool WantsAllLogits() const { return false; }
  // Logits of step rows first_row, first_row + 1, …: [some rows, vocab]. Called for consecutive
  // slices until all rows were shown, because a long prompt's logits would not fit memory at once.
  // Only if WantsAllLogits.
  virtual void OnAllLogits(int64_t first_row, kernels::ConstMat logits) {}
};

// Type URL of the payload on a Forward error that one sequence alone has caused: its index in
// decimal digits. Without it the error is the whole step's.
inline constexpr char kSequenceIndexPayload[] = "tessera.model/sequence_index";

// Not thread safe: one caller at a time, but config, kv_layout, weight_bytes and NumImageTokens may
// be called from any thread.
class VlModel {
 public:
  // Reads config.json and the safetensors of an official checkpoint folder. NOT_FOUND names a
  // missing file or tensor; INVALID_ARGUMENT names what is wrong with a config key, a header, an
  // offset or a shape; UNIMPLEMENTED an unknown architecture.
  static absl::StatusOr<std::unique_ptr<VlModel>> Load(const std::string& model_dir,
                                                       const LoadOptions& options);
  virtual ~VlModel() = default;

  virtual const ModelConfig& config() const = 0;
  virtual KvLayout kv_layout() const = 0;
  virtual int64_t weight_bytes() const = 0;  // resident

  // Number of embedding rows of an image with this grid (golden README, point 20).
  virtual int64_t NumImageTokens(int64_t tiles_across, int64_t tiles_down) const = 0;

  // Tower, projector and 2-D layout of one image. features: [NumImageTokens, hidden].
  // INVALID_ARGUMENT: sizes disagree.
  virtual absl::Status EncodeImage(const ImageTiles& image, kernels::Mat features,
                                   ForwardProbe* probe = nullptr) = 0;

  // One step over a ragged batch: writes K and V of all rows into the pages, then computes. layers:
  // one PagedKv per layer, in the layout of kv_layout(). logits: [number of sequences with
  // wants_logits, vocab], in the order of the sequences. Token ids, positions and block ids are the
  // caller's promise (engine validates requests); a position at or past max_position_embeddings or
  // an id outside the vocabulary is INVALID_ARGUMENT. INTERNAL: a logit row is not finite (names
  // the sequence's index, also as kSequenceIndexPayload).
  virtual absl::Status Forward(absl::Span<const StepSequence> sequences,
                               absl::Span<const kernels::PagedKv> layers, kernels::Mat logits,
                               ForwardProbe* probe = nullptr) = 0;

  // Who hears of written K and V from the next Forward on; null: nobody. Outlives the model or the
  // next call. A model without pages of its own layers has nothing to tell.
  virtual void SetKvObserver(KvObserver* observer) {}
};

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_MODEL_H_
