#include "worker/model/scratch.h"

#include <algorithm>
#include <utility>

#include "services/base/check.h"

namespace tessera::model {

kernels::Mat ScratchMat::Get(int64_t rows, int64_t cols) {
  const int64_t needed = std::max<int64_t>(rows * cols * static_cast<int64_t>(sizeof(float)), 1);
  if (needed > buffer_.bytes()) {
    buffer_ = MappedBuffer();  // the old contents are void: both need not exist at once
    absl::StatusOr<MappedBuffer> grown = MappedBuffer::Create(needed);
    TESSERA_CHECK(grown.ok()) << grown.status().message();
    buffer_ = *std::move(grown);
  }
  return {static_cast<float*>(buffer_.data()), rows, cols, cols};
}

}  // namespace tessera::model
