// How much memory a model takes, from its config alone: parameters and bytes per part, KV per
// token, activations per chunk, and what a topology of stages × expert ranks leaves for context.
// Pure; `tessera plan` prints it.
#ifndef TESSERA_WORKER_MODEL_MEMORY_PLAN_H_
#define TESSERA_WORKER_MODEL_MEMORY_PLAN_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/kernels.h"
#include "worker/model/model_config.h"

namespace tessera::model {

// Parameters of one part. Matrices are held in the weights' dtype, vectors (norms, biases, position
// embeddings) in float32.
struct PartSize {
  int64_t matrix = 0;
  int64_t vector = 0;

  int64_t parameters() const { return matrix + vector; }
  PartSize& operator+=(const PartSize& other) {
    matrix += other.matrix;
    vector += other.vector;
    return *this;
  }
};

struct ModelSize {
  PartSize vision;
  PartSize vision_unused;  // the attention pool head: stands in every checkpoint, is never loaded
  PartSize projector;      // with image_newline and view_seperator
  PartSize embeddings;
  PartSize attention;
  PartSize dense_mlp;
  PartSize routed_experts;
  PartSize shared_experts;
  PartSize router;   // held in float32 always
  PartSize norms;    // of the language model
  PartSize lm_head;  // zero if tied; the tied matrix still takes memory a second time, packed: see
                     // ResidentWeightBytes

  int64_t parameters() const;  // of the checkpoint
};

ModelSize CountParameters(const ModelConfig& config);

// Bytes of the checkpoint's tensors if all are stored in `dtype`.
int64_t CheckpointBytes(const ModelConfig& config, kernels::DType dtype);

// Bytes in memory on one rank that holds everything, with matrices in `dtype`.
int64_t ResidentWeightBytes(const ModelConfig& config, kernels::DType dtype);

// Bytes of K and V (or of latent and rotary key) of one token in `num_layers` layers.
int64_t KvBytesPerToken(const LanguageConfig& config, kernels::DType kv_dtype, int64_t num_layers);

// Bytes of activations while `chunk_tokens` rows pass through the language model, and while the
// vision tower encodes an image of max_tiles tiles (the global view included).
int64_t LanguageActivationBytes(const LanguageConfig& config, int64_t chunk_tokens);
int64_t VisionActivationBytes(const ModelConfig& config, int64_t max_tiles);

struct Topology {
  int64_t stages = 1;
  int64_t expert_ranks = 1;
};

struct PlanOptions {
  kernels::DType weight_dtype = kernels::DType::kBF16;
  kernels::DType kv_dtype = kernels::DType::kBF16;
  int64_t memory_bytes = 0;         // of one rank's device
  int64_t reserve_bytes = 1 << 30;  // left to the runtime and the libraries
  int64_t chunk_tokens = 2048;      // rows of the largest step
  int64_t max_tiles = 10;           // of the largest image, the global view included
};

// One rank of a stage; all ranks of a stage are alike, up to one expert.
struct StagePlan {
  int64_t first_layer = 0;
  int64_t num_layers = 0;
  int64_t weight_bytes = 0;
  int64_t activation_bytes = 0;
  int64_t kv_bytes_per_token = 0;
  int64_t context_tokens = 0;  // tokens of KV that fit beside the rest; 0 if nothing is left
  bool fits = false;           // weights, activations and reserve fit, with at least one token
};

struct TopologyPlan {
  std::vector<StagePlan> stages;
  bool fits = false;
  int64_t context_tokens_per_rank = 0;  // of the tightest stage
  int64_t context_tokens_total =
      0;  // times expert_ranks: each rank of a stage owns its own requests
};

// INVALID_ARGUMENT: stages not in 1..layers, expert_ranks not in 1..experts, or a negative size in
// options.
absl::StatusOr<TopologyPlan> PlanTopology(const ModelConfig& config, const Topology& topology,
                                          const PlanOptions& options);

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_MEMORY_PLAN_H_
