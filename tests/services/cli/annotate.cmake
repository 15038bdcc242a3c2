if(NOT TARGET tessera_annotate)
  return()
endif()
tessera_test(
  NAME annotate_test
  SRCS annotate_test.cc
  DEPS tessera::annotate
  LABELS unit)
