// Activation memory that is allocated once and grown to the largest step seen.
#ifndef TESSERA_WORKER_MODEL_SCRATCH_H_
#define TESSERA_WORKER_MODEL_SCRATCH_H_

#include <cstdint>

#include "kernels/tensor_view.h"
#include "worker/model/mapped_buffer.h"

namespace tessera::model {

// Not thread safe.
class ScratchMat {
 public:
  // A contiguous matrix with undefined contents; any matrix of an earlier call is void. Memory that
  // the system does not give ends the process: a step cannot go on without it, and its bound is the
  // engine's chunk size.
  kernels::Mat Get(int64_t rows, int64_t cols);

  int64_t bytes() const { return buffer_.bytes(); }

 private:
  MappedBuffer buffer_;
};

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_SCRATCH_H_
