# Cross-compiles to 64-bit ARM with Debian's g++-aarch64-linux-gnu. Only kernels/ builds so:
#   cmake -DCMAKE_TOOLCHAIN_FILE=cmake/toolchains/aarch64.cmake -DTESSERA_KERNELS_ONLY=ON …
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
