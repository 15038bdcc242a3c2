#include "worker/group/row_payload.h"

#include <cstring>

#include "kernels/bf16.h"

namespace tessera::group {

void RowPayload::Pack(const float* row, std::byte* bytes) const {
  if (dtype_ == kernels::DType::kF32) {
    std::memcpy(bytes, row, static_cast<size_t>(row_bytes()));
    return;
  }
  auto* const values = reinterpret_cast<uint16_t*>(bytes);
  for (int64_t i = 0; i < cols_; ++i) values[i] = kernels::FloatToBf16(row[i]);
}

void RowPayload::Unpack(const std::byte* bytes, float* row) const {
  if (dtype_ == kernels::DType::kF32) {
    std::memcpy(row, bytes, static_cast<size_t>(row_bytes()));
    return;
  }
  const auto* const values = reinterpret_cast<const uint16_t*>(bytes);
  for (int64_t i = 0; i < cols_; ++i) row[i] = kernels::Bf16ToFloat(values[i]);
}

}  // namespace tessera::group
