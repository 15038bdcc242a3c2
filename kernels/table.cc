// The table of one instruction set. Leaving out an op is a compile error
// (-Werror=missing-field-initializers).
#include "kernels/kernels.h"
#include "kernels/ops.h"

namespace tessera::kernels::TESSERA_ISA {

extern const KernelTable kTable;

constexpr KernelTable kTable = {
    .name = TESSERA_TABLE_NAME,
    .packed_weight_bytes = &shared::PackedWeightBytes,
    .pack_weight = &shared::PackWeight,
    .gemm = &Gemm,
    .rms_norm = &RmsNorm,
    .layer_norm = &LayerNorm,
    .add = &Add,
    .silu_mul = &SiluMul,
    .gelu_tanh = &GeluTanh,
    .gelu_erf = &GeluErf,
    .gather_rows = &GatherRows,
    .rope_half = &RopeHalf,
    .rope_interleaved = &RopeInterleaved,
    .kv_write_mha = &KvWriteMha,
    .kv_write_mla = &KvWriteMla,
    .attention_mha = &AttentionMha,
    .attention_mla = &AttentionMla,
    .attention_full = &AttentionFull,
    .gate = &shared::Gate,
    .moe_combine = &MoeCombine,
    .round_to_bf16 = &RoundToBf16,
    .patchify = &shared::Patchify,
    .space_to_depth = &shared::SpaceToDepth,
};

}  // namespace tessera::kernels::TESSERA_ISA
