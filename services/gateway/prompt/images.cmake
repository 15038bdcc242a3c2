tessera_library(
  NAME prompt_images
  SRCS image.cc image_bmp.cc image_encode.cc image_gif.cc image_jpeg.cc image_netpbm.cc image_png.cc image_webp.cc
       resample.cc resample_avx2.cc tiler.cc
  DEPS tessera::base absl::function_ref JPEG::JPEG PNG::PNG PkgConfig::WEBP GIF::GIF)
# Coefficients are bit for bit Pillow's, whose builds do not fuse multiply and add.
set_source_files_properties(resample.cc tiler.cc PROPERTIES COMPILE_OPTIONS -ffp-contract=off)
