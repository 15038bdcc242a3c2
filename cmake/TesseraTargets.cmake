# How every target of the project is declared. Warnings, sanitizers and include root are set here once.

find_program(TESSERA_CCACHE ccache)
if(TESSERA_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # Relative to the tree, so that another clone finds what this one compiled.
  set(CMAKE_CXX_COMPILER_LAUNCHER env "CCACHE_BASEDIR=${PROJECT_SOURCE_DIR}" CCACHE_NOHASHDIR=1 "${TESSERA_CCACHE}")
endif()

add_library(tessera_flags INTERFACE)
target_compile_features(tessera_flags INTERFACE cxx_std_20)
# g++ 12 sees overlapping copies inside its own std::string.
target_compile_options(tessera_flags INTERFACE -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers -Wno-restrict)
target_include_directories(tessera_flags INTERFACE "${PROJECT_SOURCE_DIR}")
if(TESSERA_SANITIZE)
  target_compile_options(tessera_flags INTERFACE -fsanitize=${TESSERA_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(tessera_flags INTERFACE -fsanitize=${TESSERA_SANITIZE})
endif()

# tessera_library(NAME kv SRCS kv.cc … DEPS tessera::base …) declares tessera::kv.
function(tessera_library)
  cmake_parse_arguments(ARG "" "NAME" "SRCS;DEPS" ${ARGN})
  if(ARG_SRCS)
    add_library(tessera_${ARG_NAME} STATIC ${ARG_SRCS})
    target_link_libraries(tessera_${ARG_NAME} PUBLIC tessera_flags ${ARG_DEPS})
  else()
    add_library(tessera_${ARG_NAME} INTERFACE)
    target_link_libraries(tessera_${ARG_NAME} INTERFACE tessera_flags ${ARG_DEPS})
  endif()
  add_library(tessera::${ARG_NAME} ALIAS tessera_${ARG_NAME})
endfunction()

# tessera_test(NAME block_pool_test SRCS … DEPS … LABELS unit [TIMEOUT seconds]) is one gtest binary that is one CTest test.
# TESSERA_FIXTURES names tests/fixtures to it. The label `tsan` marks a test that is free of gRPC, so that ThreadSanitizer can judge it; the
# target tessera_tsan_tests builds all of those.
add_custom_target(tessera_tsan_tests)
function(tessera_test)
  cmake_parse_arguments(ARG "" "NAME;TIMEOUT" "SRCS;DEPS;LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${ARG_NAME} ${ARG_SRCS})
  target_link_libraries(${ARG_NAME} PRIVATE tessera_flags ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${ARG_NAME} PRIVATE TESSERA_FIXTURES="${PROJECT_SOURCE_DIR}/tests/fixtures")
  add_test(NAME ${ARG_NAME} COMMAND ${ARG_NAME})
  set_tests_properties(${ARG_NAME} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT})
  if("tsan" IN_LIST ARG_LABELS)
    add_dependencies(tessera_tsan_tests ${ARG_NAME})
  endif()
endfunction()
