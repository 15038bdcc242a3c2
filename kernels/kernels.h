// The op list of Tessera: maths, shapes and aliasing of each kernel, one table of function pointers
// per back end.
//
// Activations are float32 everywhere; a GEMM rounds its input to bf16 (nearest even) where
// Compute::kBF16 says so. Determinism (each op, each back end): a row's result depends on that
// row's inputs alone, never on how many other rows stand in the batch, on where they stand, or on
// the number of threads. Sums run in one fixed order that depends on the shape of the weight or on
// absolute KV positions only. No op allocates after its scratch has grown to the largest shape
// seen.
//
// Shapes are the caller's promise: a table op checks them with KERNEL_CHECK (broken invariant ends
// the process). A Stream is used by one thread at a time. CPU ops have finished when they return.
#ifndef TESSERA_KERNELS_KERNELS_H_
#define TESSERA_KERNELS_KERNELS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/op_types.h"
#include "kernels/tensor_view.h"

namespace tessera::kernels {

// Where ops run and where their scratch lives. Made by MakeStream; not thread safe; bound to one
// back end.
class Stream {
 public:
  virtual ~Stream() = default;
};

struct KernelTable {
  const char* name;  // "reference", "avx2", "avx512bf16"

  // --- GEMM (gemm/) ---
  // Bytes of the packed form of W [n, k].
  int64_t (*packed_weight_bytes)(DType dtype, int64_t n, int64_t k);
  // Packs rows [n_begin, n_begin + rows) of W from row-major source memory (source row stride in
  // elements; kF32, kBF16 or kF16) into `packed`, converting to packed.dtype (kF16 → kBF16 and kF32
  // → kBF16 round to nearest even). n_begin is a multiple of 16 or continues where the last call
  // ended. Padding is written by the call that packs the last row. Thread safe on disjoint ranges
  // of 16 rows.
  void (*pack_weight)(const void* source, DType source_dtype, int64_t source_stride,
                      int64_t n_begin, int64_t rows, const PackedWeight& packed, void* packed_data);
  // All items in one fork-join. Accumulation over k is sequential in a fixed order whatever y.rows
  // is.
  void (*gemm)(Stream&, Compute, const GemmItem* items, int64_t num_items);

  // --- rows (norm/, activation/, embedding/) ---
  // y[t,:] = x[t,:] * rsqrt(mean(x[t,:]²) + eps) * gamma     x, y: [rows, cols]  gamma: [cols]; y
  // may alias x
  void (*rms_norm)(Stream&, ConstMat x, const float* gamma, float eps, Mat y);
  // y = (x - mean) / sqrt(var + eps) * gamma + beta, biased variance; y may alias x
  void (*layer_norm)(Stream&, ConstMat x, const float* gamma, const float* beta, float eps, Mat y);
  // y += x;  x, y: [rows, cols]
  void (*add)(Stream&, ConstMat x, Mat y);
  // y = silu(gate) * up,  gate_up: [rows, 2 * cols] with gate in the first half of each row; y:
  // [rows, cols], no alias
  void (*silu_mul)(Stream&, ConstMat gate_up, Mat y);
  // In place: x * 0.5 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x³)))
  void (*gelu_tanh)(Stream&, Mat x);
  // In place: x * 0.5 * (1 + erf(x / sqrt(2)))
  void (*gelu_erf)(Stream&, Mat x);
  // y[i,:] = table[ids[i],:] widened to float32;  table: row-major [num_rows, cols] of dtype
  // (unpacked); y: [count, cols]
  void (*gather_rows)(Stream&, const void* table, DType dtype, const int32_t* ids, int64_t count,
                      Mat y);

  // --- position (position/) ---
  // Rotates each head's rotary_dim in place. x: [rows, num_heads * head_stride]; the rotary part of
  // head h starts at column h * head_stride + offset. positions: [rows]. rope_half pairs (i, i +
  // d/2), Llama's; rope_interleaved pairs (2i, 2i+1) and leaves the result interleaved (the
  // reference de-interleaves, which changes no dot product).
  void (*rope_half)(Stream&, const RopeTable&, const int32_t* positions, int64_t num_heads,
                    int64_t head_stride, int64_t offset, Mat x);
  void (*rope_interleaved)(Stream&, const RopeTable&, const int32_t* positions, int64_t num_heads,
                           int64_t head_stride, int64_t offset, Mat x);

  // --- attention (attention/) ---
  // Stores rows into the pages in the pages' dtype (round to nearest even). k, v: [rows, kv_heads *
  // head_dim]
  void (*kv_write_mha)(Stream&, const MhaShape&, const SequenceRows*, int64_t num_sequences,
                       ConstMat k, ConstMat v, PagedKv kv);
  // latent: [rows, latent_dim]  k_rope: [rows, rope_dim]
  void (*kv_write_mla)(Stream&, const MlaShape&, const SequenceRows*, int64_t num_sequences,
                       ConstMat latent, ConstMat k_rope, PagedKv kv);
  // Causal attention of each row over positions 0 … its own, K and V read from the pages (written
  // before by kv_write). Split at fixed KV boundaries, partial softmaxes merged in position order.
  // q, out: [rows, num_heads * head_dim]
  void (*attention_mha)(Stream&, const MhaShape&, const SequenceRows*, int64_t num_sequences,
                        ConstMat q, PagedKv kv, Mat out);
  // Absorbed MLA: score = q_latent · latent + q_rope · k_rope; out_latent = Σ p · latent.
  // q_latent, out_latent: [rows, num_heads * latent_dim]  q_rope: [rows, num_heads * rope_dim]
  void (*attention_mla)(Stream&, const MlaShape&, const SequenceRows*, int64_t num_sequences,
                        ConstMat q_latent, ConstMat q_rope, PagedKv kv, Mat out_latent);
  // Full (not causal) attention inside each group of `patches_per_tile` rows, for the vision tower.
  // qkv: [tiles * patches_per_tile, 3 * num_heads * head_dim] (q, k, v; heads inside each)  out:
  // [.., num_heads * head_dim]
  void (*attention_full)(Stream&, int64_t patches_per_tile, int64_t num_heads, int64_t head_dim,
                         float softmax_scale, ConstMat qkv, Mat out);

  // --- mixture of experts (moe/) ---
  // logits: [rows, num_experts] → ids, weights: [rows, top_k], row-major, ids ascending per row.
  // Experts of dropped groups keep the choice score 0 (not -inf), as in the reference, and so may
  // tie: ties fall as the reference's top-k lets them fall (moe/gate.cc).
  void (*gate)(Stream&, const GateParams&, ConstMat logits, int32_t* ids, float* weights);
  // y[t,:] = Σ_j weights[t,j] * x[slots[t,j],:], summed in fp32 in order of j.   x: [*, cols]
  // slots, weights: [rows, top_k]  y: [rows, cols]
  void (*moe_combine)(Stream&, ConstMat x, const int32_t* slots, const float* weights,
                      int64_t top_k, Mat y);
  // Rounds to bf16 and back, in place (what a bf16 dispatch or combine payload would carry).
  void (*round_to_bf16)(Stream&, Mat x);

  // --- vision (vision/) ---
  // Cuts tiles (uint8, [tiles, 3, side, side]) into patches, stride = patch, remainder unused, and
  // normalises as (v/255 - 0.5)/0.5 in float32. patches: [tiles * grid * grid, 3 * patch * patch]
  // in (channel, y, x) order, grid = side / patch.
  void (*patchify)(Stream&, const uint8_t* tiles, int64_t num_tiles, int64_t side, int64_t patch,
                   Mat patches);
  // The projector's downsampling: per tile a grid×grid map, zero-padded at bottom and right to a
  // multiple of `ratio`, each ratio×ratio block flattened channel-major: out[.., c*ratio² +
  // dy*ratio + dx].   x: [tiles * grid², cols]  y: [tiles * ceil(grid/ratio)², cols*ratio²]
  void (*space_to_depth)(Stream&, int64_t num_tiles, int64_t grid, int64_t ratio, ConstMat x,
                         Mat y);
};

enum class Backend : uint8_t { kReference, kCpuGeneric, kCpuAvx2, kCpuAvx512Bf16 };

// The table of a back end; nullptr: not in this build, or this machine cannot run it.
const KernelTable* KernelsFor(Backend backend);
// The fastest CPU table that this machine runs.
const KernelTable* BestCpuKernels();
// "auto", "reference", "generic", "avx2" or "avx512bf16"; nullptr: unknown name, or not runnable
// here.
const KernelTable* KernelsByName(std::string_view name);
// Names of the tables that run on this machine, best first.
std::vector<std::string> RunnableKernelNames();

class ThreadPool;  // thread_pool.h

// A stream of the CPU back ends over `pool`, which outlives it. Several streams may share a pool
// only if their owners take turns.
std::unique_ptr<Stream> MakeCpuStream(ThreadPool& pool);

}  // namespace tessera::kernels

#endif  // TESSERA_KERNELS_KERNELS_H_
