// Rows of activations as bytes on their way between ranks.
#ifndef TESSERA_WORKER_GROUP_ROW_PAYLOAD_H_
#define TESSERA_WORKER_GROUP_ROW_PAYLOAD_H_

#include <cstddef>
#include <cstdint>

#include "kernels/tensor_view.h"

namespace tessera::group {

// dtype: kF32, or kBF16 with the rounding of the kernels. Bytes are aligned to the element.
class RowPayload {
 public:
  RowPayload(kernels::DType dtype, int64_t cols) : dtype_(dtype), cols_(cols) {}

  int64_t cols() const { return cols_; }
  int64_t row_bytes() const { return cols_ * kernels::SizeOf(dtype_); }
  void Pack(const float* row, std::byte* bytes) const;
  void Unpack(const std::byte* bytes, float* row) const;

 private:
  kernels::DType dtype_;
  int64_t cols_;
};

}  // namespace tessera::group

#endif  // TESSERA_WORKER_GROUP_ROW_PAYLOAD_H_
