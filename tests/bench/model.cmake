add_executable(model_bench model_bench.cc machine_limits.cc)
target_link_libraries(model_bench PRIVATE tessera_flags tessera::model tessera::check tessera::kernels)
