#include "kernels/cuda_devices.h"

#include <cuda_runtime_api.h>

namespace tessera::kernels {

std::string DescribeCudaDevices() {
  int count = 0;  // left untouched where there is no driver
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    return std::string("no driver or no device: ") + cudaGetErrorString(error);
  }
  std::string text;
  for (int device = 0; device < count; ++device) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, device) != cudaSuccess) continue;
    text += (text.empty() ? "" : ", ") + std::string(properties.name) + " (" +
            std::to_string(properties.totalGlobalMem >> 30) + " GiB)";
  }
  return text;
}

}  // namespace tessera::kernels
