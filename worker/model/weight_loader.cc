#include "worker/model/weight_loader.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/thread_pool.h"
#include "services/base/status_macros.h"

namespace tessera::model {
namespace {

using kernels::DType;
using kernels::PackedWeight;

// Rows that one thread packs at a time; a multiple of 16, as pack_weight asks.
constexpr int64_t kRowsPerTask = 64;
constexpr auto kReportEvery = std::chrono::milliseconds(250);

absl::StatusOr<DType> WeightDType(const std::string& tensor, StoredDType dtype) {
  switch (dtype) {
    case StoredDType::kF32:
      return DType::kF32;
    case StoredDType::kF16:
      return DType::kF16;
    case StoredDType::kBF16:
      return DType::kBF16;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("checkpoint: tensor \"", tensor,
                       "\" has a dtype that no weight has; must be F32, F16 or BF16"));
  }
}

std::string ShowShape(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

float WidenF16(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = half >> 10 & 0x1f;
  const uint32_t mantissa = half & 0x3ff;
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  const uint32_t bits =
      sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | mantissa << 13;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Element i of a tensor that may lie at any address.
float Widen(const uint8_t* data, DType dtype, int64_t i) {
  if (dtype == DType::kF32) {
    float value;
    std::memcpy(&value, data + i * 4, sizeof value);
    return value;
  }
  uint16_t half;
  std::memcpy(&half, data + i * 2, sizeof half);
  if (dtype == DType::kF16) return WidenF16(half);
  const uint32_t bits = static_cast<uint32_t>(half) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

bool IsAligned(const void* data, DType dtype) {
  return reinterpret_cast<uintptr_t>(data) % kernels::SizeOf(dtype) == 0;
}

}  // namespace

// Consecutive rows of the packed matrix that come from one place.
struct WeightLoader::Segment {
  const uint8_t* source = nullptr;  // first row, row-major, aligned to its dtype
  DType dtype = DType::kBF16;
  int64_t rows = 0;
};

WeightLoader::WeightLoader(const Checkpoint& checkpoint, const LoadOptions& options,
                           WeightArena* arena, int64_t total_bytes)
    : checkpoint_(checkpoint), options_(options), arena_(arena), total_bytes_(total_bytes) {}

WeightLoader WeightLoader::Survey(const Checkpoint& checkpoint, const LoadOptions& options) {
  return WeightLoader(checkpoint, options, nullptr, 0);
}

void WeightLoader::Done(const StoredTensor& tensor) {
  if (!is_survey()) checkpoint_.Release(tensor);
  Count(tensor);
}

void WeightLoader::Count(const StoredTensor& tensor) {
  if (!counted_.insert(tensor.data).second) return;
  loaded_bytes_ += tensor.bytes();
  if (is_survey()) return;
  const auto now = std::chrono::steady_clock::now();
  if (options_.progress && now - last_report_ >= kReportEvery) {
    last_report_ = now;
    options_.progress(loaded_bytes_, total_bytes_);
  }
}

void WeightLoader::ReportDone() {
  if (options_.progress) options_.progress(total_bytes_, total_bytes_);
}

absl::StatusOr<StoredTensor> WeightLoader::FindMatrix(const std::string& tensor, int64_t rows,
                                                      int64_t k) const {
  TESSERA_ASSIGN_OR_RETURN(const StoredTensor stored, checkpoint_.Find(tensor));
  // A convolution's kernel [n, c, h, w] is a matrix of n rows.
  const std::vector<int64_t>& shape = stored.info->shape;
  if (shape.size() < 2 || shape[0] != rows || stored.info->num_elements() != rows * k) {
    return absl::InvalidArgumentError(absl::StrCat("checkpoint: tensor \"", tensor, "\" has shape ",
                                                   ShowShape(shape), "; config.json asks for ",
                                                   ShowShape({rows, k})));
  }
  TESSERA_RETURN_IF_ERROR(WeightDType(tensor, stored.info->dtype).status());
  return stored;
}

DType WeightLoader::MemoryDType(const std::vector<Segment>& segments, Keep keep) const {
  if (keep == Keep::kFloat) return DType::kF32;
  if (options_.compute == kernels::Compute::kBF16) return DType::kBF16;
  const bool all_bf16 = std::all_of(segments.begin(), segments.end(),
                                    [](const Segment& s) { return s.dtype == DType::kBF16; });
  return all_bf16 ? DType::kBF16 : DType::kF32;
}

absl::StatusOr<PackedWeight> WeightLoader::Pack(const std::vector<Segment>& segments, int64_t k,
                                                Keep keep, void* place) {
  PackedWeight packed;
  packed.k = k;
  for (const Segment& segment : segments) packed.n += segment.rows;
  packed.dtype = MemoryDType(segments, keep);
  if (is_survey()) return packed;
  void* data = place;
  if (data == nullptr) {
    TESSERA_ASSIGN_OR_RETURN(
        data, arena_->Allocate(options_.table->packed_weight_bytes(packed.dtype, packed.n, k)));
  }
  packed.data = data;
  std::atomic<int64_t> next_row = 0;
  options_.pool->RunOnAll([&](int) {
    for (int64_t begin = next_row.fetch_add(kRowsPerTask); begin < packed.n;
         begin = next_row.fetch_add(kRowsPerTask)) {
      const int64_t end = std::min(begin + kRowsPerTask, packed.n);
      int64_t segment_begin = 0;
      for (const Segment& segment : segments) {
        const int64_t first = std::max(begin, segment_begin);
        const int64_t last = std::min(end, segment_begin + segment.rows);
        if (first < last) {
          const uint8_t* rows =
              segment.source + (first - segment_begin) * k * kernels::SizeOf(segment.dtype);
          options_.table->pack_weight(rows, segment.dtype, k, first, last - first, packed, data);
        }
        segment_begin += segment.rows;
      }
    }
  });
  return packed;
}

absl::StatusOr<PackedWeight> WeightLoader::Stacked(const std::vector<RowRange>& ranges, int64_t k,
                                                   void* place) {
  std::vector<Segment> segments;
  std::vector<std::vector<uint8_t>> copies;  // of tensors that the file misaligns
  std::map<std::string, StoredTensor> used;
  for (const RowRange& range : ranges) {
    TESSERA_ASSIGN_OR_RETURN(const StoredTensor stored,
                             FindMatrix(range.tensor, range.stored_rows, k));
    TESSERA_ASSIGN_OR_RETURN(const DType dtype, WeightDType(range.tensor, stored.info->dtype));
    used.emplace(range.tensor, stored);
    const int64_t row_bytes = k * kernels::SizeOf(dtype);
    const uint8_t* source = stored.data + range.first_row * row_bytes;
    if (!is_survey() && !IsAligned(source, dtype)) {
      copies.emplace_back(source, source + range.num_rows * row_bytes);
      source = copies.back().data();
    }
    segments.push_back({source, dtype, range.num_rows});
  }
  TESSERA_ASSIGN_OR_RETURN(const PackedWeight packed, Pack(segments, k, Keep::kAsStored, place));
  for (const auto& [name, stored] : used) Done(stored);
  return packed;
}

absl::StatusOr<int64_t> WeightLoader::PackedBytes(const std::vector<RowRange>& ranges,
                                                  int64_t k) const {
  std::vector<Segment> segments;
  int64_t rows = 0;
  for (const RowRange& range : ranges) {
    TESSERA_ASSIGN_OR_RETURN(const StoredTensor stored,
                             FindMatrix(range.tensor, range.stored_rows, k));
    TESSERA_ASSIGN_OR_RETURN(const DType dtype, WeightDType(range.tensor, stored.info->dtype));
    segments.push_back({nullptr, dtype, range.num_rows});
    rows += range.num_rows;
  }
  const DType dtype = MemoryDType(segments, Keep::kAsStored);
  return WeightArena::Aligned(options_.table->packed_weight_bytes(dtype, rows, k));
}

absl::StatusOr<PackedWeight> WeightLoader::Matrix(const std::string& tensor, int64_t n, int64_t k) {
  return Stacked({{tensor, n, 0, n}}, k);
}

absl::StatusOr<PackedWeight> WeightLoader::FloatMatrix(const std::string& tensor, int64_t n,
                                                       int64_t k) {
  TESSERA_RETURN_IF_ERROR(FindMatrix(tensor, n, k).status());
  TESSERA_ASSIGN_OR_RETURN(const FloatVector values, Vector(tensor, {n, k}));
  return Pack({{reinterpret_cast<const uint8_t*>(values.data()), DType::kF32, n}}, k, Keep::kFloat);
}

absl::StatusOr<PackedWeight> WeightLoader::Transposed(const RowRange& range, int64_t k) {
  TESSERA_ASSIGN_OR_RETURN(const StoredTensor stored,
                           FindMatrix(range.tensor, range.stored_rows, k));
  TESSERA_ASSIGN_OR_RETURN(const DType dtype, WeightDType(range.tensor, stored.info->dtype));
  if (is_survey()) {
    Count(stored);
    return PackedWeight{};
  }
  const int64_t size = kernels::SizeOf(dtype);
  std::vector<uint8_t> turned(static_cast<size_t>(range.num_rows * k * size));
  for (int64_t row = 0; row < range.num_rows; ++row) {
    const uint8_t* source = stored.data + (range.first_row + row) * k * size;
    for (int64_t col = 0; col < k; ++col) {
      std::memcpy(turned.data() + (col * range.num_rows + row) * size, source + col * size,
                  static_cast<size_t>(size));
    }
  }
  return Pack({{turned.data(), dtype, k}}, range.num_rows, Keep::kAsStored);
}

absl::StatusOr<LinearWeights> WeightLoader::Linear(const std::string& prefix, int64_t n, int64_t k,
                                                   bool with_bias) {
  LinearWeights linear;
  TESSERA_ASSIGN_OR_RETURN(linear.weight, Matrix(prefix + ".weight", n, k));
  if (with_bias) {
    TESSERA_ASSIGN_OR_RETURN(linear.bias, Vector(prefix + ".bias", {n}));
  }
  return linear;
}

absl::StatusOr<FloatVector> WeightLoader::Vector(const std::string& tensor,
                                                 const std::vector<int64_t>& shape) {
  TESSERA_ASSIGN_OR_RETURN(const StoredTensor stored, checkpoint_.Find(tensor));
  if (stored.info->shape != shape) {
    return absl::InvalidArgumentError(absl::StrCat("checkpoint: tensor \"", tensor, "\" has shape ",
                                                   ShowShape(stored.info->shape),
                                                   "; config.json asks for ", ShowShape(shape)));
  }
  TESSERA_ASSIGN_OR_RETURN(const DType dtype, WeightDType(tensor, stored.info->dtype));
  FloatVector values(static_cast<size_t>(stored.info->num_elements()));
  for (size_t i = 0; i < values.size() && !is_survey(); ++i)
    values[i] = Widen(stored.data, dtype, static_cast<int64_t>(i));
  Done(stored);
  return values;
}

absl::StatusOr<LayerNormWeights> WeightLoader::LayerNorm(const std::string& prefix, int64_t width) {
  LayerNormWeights norm;
  TESSERA_ASSIGN_OR_RETURN(norm.gamma, Vector(prefix + ".weight", {width}));
  TESSERA_ASSIGN_OR_RETURN(norm.beta, Vector(prefix + ".bias", {width}));
  return norm;
}

absl::StatusOr<EmbeddingTable> WeightLoader::Embedding(const std::string& tensor, int64_t rows,
                                                       int64_t cols) {
  TESSERA_ASSIGN_OR_RETURN(const StoredTensor stored, FindMatrix(tensor, rows, cols));
  EmbeddingTable table;
  TESSERA_ASSIGN_OR_RETURN(table.dtype, WeightDType(tensor, stored.info->dtype));
  table.data = stored.data;
  if (!is_survey() && !IsAligned(stored.data, table.dtype)) {
    TESSERA_ASSIGN_OR_RETURN(void* const copy, arena_->Allocate(stored.bytes()));
    std::memcpy(copy, stored.data, static_cast<size_t>(stored.bytes()));
    table.data = copy;
    Done(stored);
    return table;
  }
  Count(stored);
  return table;
}

}  // namespace tessera::model
