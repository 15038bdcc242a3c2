foreach(test image_golden_test image_bad_input_test image_encode_test image_resample_test tiler_test)
  tessera_test(
    NAME ${test}
    SRCS ${test}.cc
    DEPS tessera::prompt_images nlohmann_json::nlohmann_json
    LABELS unit)
endforeach()
