add_executable(kernels_bench kernels_bench.cc machine_limits.cc)
target_link_libraries(kernels_bench PRIVATE tessera_flags tessera::kernels benchmark::benchmark)
