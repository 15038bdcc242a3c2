#include "kernels/attention/kv_write.h"
#include "kernels/ops.h"

namespace tessera::kernels::TESSERA_ISA {
namespace {

auto StoreElements(DType dtype) {
  return [dtype](const float* in, int64_t count, char* block, int64_t index) {
    for (int64_t i = 0; i < count; ++i) StoreElement(block, dtype, index + i, in[i]);
  };
}

}  // namespace

void KvWriteMha(Stream& stream, const MhaShape& shape, const SequenceRows* sequences,
                int64_t num_sequences, ConstMat k, ConstMat v, PagedKv kv) {
  WriteMhaRows(stream, shape, sequences, num_sequences, k, v, kv, StoreElements(kv.dtype));
}

void KvWriteMla(Stream& stream, const MlaShape& shape, const SequenceRows* sequences,
                int64_t num_sequences, ConstMat latent, ConstMat k_rope, PagedKv kv) {
  WriteMlaRows(stream, shape, sequences, num_sequences, latent, k_rope, kv,
               StoreElements(kv.dtype));
}

}  // namespace tessera::kernels::TESSERA_ISA
