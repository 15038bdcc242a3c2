// The ops of one table: each set of files is compiled with TESSERA_ISA naming its namespace
// (reference, generic, avx2, avx512bf16). What each op does: kernels.h.
#ifndef TESSERA_KERNELS_OPS_H_
#define TESSERA_KERNELS_OPS_H_

#include <cstdint>

#include "kernels/op_types.h"

namespace tessera::kernels {
namespace shared {

// Pure data movement, one for all tables (gemm/pack.cc).
int64_t PackedWeightBytes(DType dtype, int64_t n, int64_t k);
void PackWeight(const void* source, DType source_dtype, int64_t source_stride, int64_t n_begin,
                int64_t rows, const PackedWeight& packed, void* packed_data);

}  // namespace shared

namespace shared {

// Ops whose cost does not depend on the instruction set; every table points to them.
void Gate(Stream&, const GateParams&, ConstMat logits, int32_t* ids, float* weights);
void Patchify(Stream&, const uint8_t* tiles, int64_t num_tiles, int64_t side, int64_t patch,
              Mat patches);
void SpaceToDepth(Stream&, int64_t num_tiles, int64_t grid, int64_t ratio, ConstMat x, Mat y);

}  // namespace shared

namespace TESSERA_ISA {

void Gemm(Stream&, Compute, const GemmItem* items, int64_t num_items);
void RmsNorm(Stream&, ConstMat x, const float* gamma, float eps, Mat y);
void LayerNorm(Stream&, ConstMat x, const float* gamma, const float* beta, float eps, Mat y);
void Add(Stream&, ConstMat x, Mat y);
void SiluMul(Stream&, ConstMat gate_up, Mat y);
void GeluTanh(Stream&, Mat x);
void GeluErf(Stream&, Mat x);
void GatherRows(Stream&, const void* table, DType dtype, const int32_t* ids, int64_t count, Mat y);
void RopeHalf(Stream&, const RopeTable&, const int32_t* positions, int64_t num_heads,
              int64_t head_stride, int64_t offset, Mat x);
void RopeInterleaved(Stream&, const RopeTable&, const int32_t* positions, int64_t num_heads,
                     int64_t head_stride, int64_t offset, Mat x);
void KvWriteMha(Stream&, const MhaShape&, const SequenceRows*, int64_t num_sequences, ConstMat k,
                ConstMat v, PagedKv kv);
void KvWriteMla(Stream&, const MlaShape&, const SequenceRows*, int64_t num_sequences,
                ConstMat latent, ConstMat k_rope, PagedKv kv);
void AttentionMha(Stream&, const MhaShape&, const SequenceRows*, int64_t num_sequences, ConstMat q,
                  PagedKv kv, Mat out);
void AttentionMla(Stream&, const MlaShape&, const SequenceRows*, int64_t num_sequences,
                  ConstMat q_latent, ConstMat q_rope, PagedKv kv, Mat out_latent);
void AttentionFull(Stream&, int64_t patches_per_tile, int64_t num_heads, int64_t head_dim,
                   float softmax_scale, ConstMat qkv, Mat out);
void MoeCombine(Stream&, ConstMat x, const int32_t* slots, const float* weights, int64_t top_k,
                Mat y);
void RoundToBf16(Stream&, Mat x);

}  // namespace TESSERA_ISA
}  // namespace tessera::kernels

#endif  // TESSERA_KERNELS_OPS_H_
