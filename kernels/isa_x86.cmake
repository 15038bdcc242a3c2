# The fast tables of x86-64, one OBJECT library per instruction set.
function(tessera_isa_table isa)
  tessera_kernel_table(${isa} ${isa}
    activation/activation_cpu.cc
    attention/attention_cpu.cc
    attention/attention_full_cpu.cc
    attention/kv_write_cpu.cc
    embedding/gather_rows_cpu.cc
    gemm/gemm_cpu.cc
    moe/moe_combine_cpu.cc
    norm/norm_cpu.cc
    position/rope.cc)
  target_compile_options(tessera_kernels_${isa} PRIVATE -O3 ${ARGN})
  target_compile_definitions(tessera_kernels_${isa} PRIVATE
    TESSERA_SIMD_HEADER="kernels/simd/${isa}.h")
  list(APPEND tessera_kernel_objects $<TARGET_OBJECTS:tessera_kernels_${isa}>)
  set(tessera_kernel_objects "${tessera_kernel_objects}" PARENT_SCOPE)
endfunction()

tessera_isa_table(generic -march=x86-64-v2)
tessera_isa_table(avx2 -march=x86-64-v2 -mavx2 -mfma -mf16c)
# g++ 12 warns of uninitialised operands inside its own AVX-512 headers.
tessera_isa_table(avx512bf16 -march=x86-64-v2 -mavx2 -mfma -mf16c
  -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512bf16 -mprefer-vector-width=512
  -Wno-maybe-uninitialized -Wno-uninitialized)
# Sanitizers make g++ compile this table for many minutes; the AVX2 table is the same source, and instrumented.
target_compile_options(tessera_kernels_avx512bf16 PRIVATE -fno-sanitize=all)
