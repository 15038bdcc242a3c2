// Brings routed rows to the ranks that hold their experts and the results home again. The MoE layer
// computes what it is handed:
//
//   dispatch.Start(rows)         rows are on their way; the shared experts run meanwhile
//   dispatch.Wait()              → work: slots grouped by expert
//   y[slot] = expert(x[slot])    for each group of the work
//   dispatch.Combine(y, out)     → out[t] = sum over j of weights[t, j] * the result of (t, j), in
//   order of j
#ifndef TESSERA_WORKER_MODEL_EXPERT_DISPATCH_H_
#define TESSERA_WORKER_MODEL_EXPERT_DISPATCH_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/kernels.h"

namespace tessera::model {

// Rows of one rank that a collective dispatch takes at a time, and so a RunLayers with one.
inline constexpr int64_t kMaxCollectiveRows = 2048;

// This rank's tokens in one MoE layer and where the router sends them.
struct RoutedRows {
  kernels::ConstMat x;                   // [rows, hidden]
  absl::Span<const int32_t> expert_ids;  // [rows, top_k], ascending per row
  absl::Span<const float> weights;       // [rows, top_k]
  int64_t top_k = 0;
};

// What this rank has to compute. A slot is one (row, choice) pair; slots of one expert follow each
// other.
struct ExpertWork {
  struct Group {
    int32_t expert = 0;  // index into the layer's experts that this rank holds
    int64_t first_slot = 0;
    int64_t num_slots = 0;  // >= 1
  };
  kernels::ConstMat x;               // rows to read; not in the order of slots
  absl::Span<const int32_t> x_rows;  // [num_slots]: the row of x that a slot reads
  absl::Span<const Group> groups;    // experts ascending
  int64_t num_slots = 0;             // may be 0 on a rank without work, which still takes part
};

// Not thread safe. Start, Wait and Combine follow each other.
class ExpertDispatch {
 public:
  virtual ~ExpertDispatch() = default;

  // Other ranks take part: each layer of each step makes the three calls exactly once on every
  // rank, with or without rows, and shared experts are computed between Start and Wait.
  virtual bool collective() const = 0;

  // rows outlive the following Combine; the work is valid until then. Fails only where other ranks
  // take part. layer: the local index of the MoE layer, whose experts may lie elsewhere than
  // another layer's.
  virtual absl::Status Start(int64_t layer, const RoutedRows& rows) = 0;
  virtual absl::StatusOr<ExpertWork> Wait() = 0;

  // expert_out: [num_slots, hidden], in the order of slots   out: [rows, hidden]
  virtual absl::Status Combine(kernels::ConstMat expert_out, kernels::Mat out) = 0;
};

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_EXPERT_DISPATCH_H_
