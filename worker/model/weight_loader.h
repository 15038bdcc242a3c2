// Takes tensors out of a checkpoint: checks each one's shape, packs matrices on the pool's threads,
// widens vectors to float32, and gives the source pages back as it goes.
#ifndef TESSERA_WORKER_MODEL_WEIGHT_LOADER_H_
#define TESSERA_WORKER_MODEL_WEIGHT_LOADER_H_

#include <chrono>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/model/model.h"
#include "worker/model/safetensors.h"
#include "worker/model/weights.h"

namespace tessera::model {

// Rows [first_row, first_row + num_rows) of a stored matrix [stored_rows, k].
struct RowRange {
  std::string tensor;
  int64_t stored_rows = 0;
  int64_t first_row = 0;
  int64_t num_rows = 0;
};

// Not thread safe. Errors name the tensor: NOT_FOUND if absent; INVALID_ARGUMENT for a wrong shape
// or dtype.
class WeightLoader {
 public:
  // All outlive the loader. total_bytes: what progress counts up to.
  WeightLoader(const Checkpoint& checkpoint, const LoadOptions& options, WeightArena* arena,
               int64_t total_bytes);

  // A loader that checks and counts the tensors it is asked for and reads none: weights come back
  // without data. So a load knows its total, and fails on a bad checkpoint before it takes memory.
  static WeightLoader Survey(const Checkpoint& checkpoint, const LoadOptions& options);
  bool is_survey() const { return arena_ == nullptr; }
  int64_t counted_bytes() const { return loaded_bytes_; }  // of the tensors asked for so far

  // The matrix `tensor` [n, k].
  absl::StatusOr<kernels::PackedWeight> Matrix(const std::string& tensor, int64_t n, int64_t k);
  // The ranges stacked in order into one matrix. A tensor may appear in several ranges. place:
  // zero-filled memory of PackedBytes(ranges, k), 64-byte aligned; null: in the arena.
  absl::StatusOr<kernels::PackedWeight> Stacked(const std::vector<RowRange>& ranges, int64_t k,
                                                void* place = nullptr);
  // Bytes of the packed matrix that Stacked gives, a multiple of 64.
  absl::StatusOr<int64_t> PackedBytes(const std::vector<RowRange>& ranges, int64_t k) const;
  // As Matrix, always float32 in memory.
  absl::StatusOr<kernels::PackedWeight> FloatMatrix(const std::string& tensor, int64_t n,
                                                    int64_t k);
  // Rows [first_row, first_row + rows) of `tensor` [stored_rows, k], transposed: [k, rows].
  absl::StatusOr<kernels::PackedWeight> Transposed(const RowRange& range, int64_t k);
  // Matrix `prefix`.weight [n, k] with `prefix`.bias [n].
  absl::StatusOr<LinearWeights> Linear(const std::string& prefix, int64_t n, int64_t k,
                                       bool with_bias);
  // A tensor of exactly this shape as float32, row-major.
  absl::StatusOr<FloatVector> Vector(const std::string& tensor, const std::vector<int64_t>& shape);
  absl::StatusOr<LayerNormWeights> LayerNorm(const std::string& prefix, int64_t width);
  // The table as stored, its pages kept; a copy in the arena where the file misaligns it.
  absl::StatusOr<EmbeddingTable> Embedding(const std::string& tensor, int64_t rows, int64_t cols);

  bool Contains(std::string_view tensor) const { return checkpoint_.Contains(tensor); }
  void ReportDone();  // the last call of LoadOptions::progress

 private:
  struct Segment;
  enum class Keep { kAsStored, kFloat };

  absl::StatusOr<StoredTensor> FindMatrix(const std::string& tensor, int64_t rows, int64_t k) const;
  absl::StatusOr<kernels::PackedWeight> Pack(const std::vector<Segment>& segments, int64_t k,
                                             Keep keep, void* place = nullptr);
  kernels::DType MemoryDType(const std::vector<Segment>& segments, Keep keep) const;
  void Count(const StoredTensor& tensor);
  void Done(const StoredTensor& tensor);

  const Checkpoint& checkpoint_;
  const LoadOptions& options_;
  WeightArena* arena_;  // null: a survey
  int64_t total_bytes_;
  std::set<const uint8_t*>
      counted_;  // tensors that are in loaded_bytes_: some are read in several goes
  int64_t loaded_bytes_ = 0;
  std::chrono::steady_clock::time_point last_report_{};
};

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_WEIGHT_LOADER_H_
