// What this build and this machine know of CUDA; for `tessera version`. The model's operations run
// on the CPU only so far.
#ifndef TESSERA_KERNELS_CUDA_DEVICES_H_
#define TESSERA_KERNELS_CUDA_DEVICES_H_

#include <string>

namespace tessera::kernels {

// One line: "not in this build", "no driver or no device: …", or the devices by name and memory.
// Thread safe; never fails.
std::string DescribeCudaDevices();

}  // namespace tessera::kernels

#endif  // TESSERA_KERNELS_CUDA_DEVICES_H_
