// Activations of the language model, shared by its layers: one layer runs at a time.
#ifndef TESSERA_WORKER_MODEL_ACTIVATIONS_H_
#define TESSERA_WORKER_MODEL_ACTIVATIONS_H_

#include <cstdint>
#include <vector>

#include "worker/model/scratch.h"

namespace tessera::model {

struct Activations {
  ScratchMat hidden;          // [rows, hidden]: the residual stream
  ScratchMat normed;          // [rows, hidden]
  ScratchMat branch;          // [rows, hidden]: what attention or MLP adds
  ScratchMat projected;       // MHA: [rows, q | k | v]; MLA: [rows, q or q_a | latent | k_rope]
  ScratchMat queries;         // MLA with query compression: [rows, heads * (nope + rope)]
  ScratchMat query_latent;    // MLA: [rows, heads * latent]
  ScratchMat out_latent;      // MLA: [rows, heads * latent]
  ScratchMat attended;        // [rows, heads * value dim]
  ScratchMat gate_up;         // dense or shared MLP: [rows, 2 * width]
  ScratchMat gated;           // [rows, width]
  ScratchMat shared_out;      // [rows, hidden]
  ScratchMat router_logits;   // [rows, experts]
  ScratchMat expert_gate_up;  // [slots, 2 * width]
  ScratchMat expert_gated;    // [slots, width]
  ScratchMat expert_out;      // [slots, hidden]
  ScratchMat logits;          // a slice of rows, for probes
  std::vector<int32_t> expert_ids;    // [rows, top_k]
  std::vector<float> expert_weights;  // [rows, top_k]
};

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_ACTIVATIONS_H_
