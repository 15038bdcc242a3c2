tessera_library(
  NAME annotate
  SRCS annotate.cc annotate_font.cc
  DEPS tessera::base tessera::prompt_images)
