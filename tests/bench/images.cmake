add_executable(image_bench image_bench.cc)
target_link_libraries(image_bench PRIVATE tessera::prompt_images benchmark::benchmark benchmark::benchmark_main)
target_compile_definitions(image_bench PRIVATE TESSERA_FIXTURES="${PROJECT_SOURCE_DIR}/tests/fixtures")
