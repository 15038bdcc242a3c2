#include "kernels/cuda_devices.h"

namespace tessera::kernels {

std::string DescribeCudaDevices() { return "not in this build"; }

}  // namespace tessera::kernels
