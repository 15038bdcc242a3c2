// The tables of this build's processor family. CMake picks cpu_features_x86.cc or
// cpu_features_absent.cc.
#ifndef TESSERA_KERNELS_CPU_FEATURES_H_
#define TESSERA_KERNELS_CPU_FEATURES_H_

#include "kernels/kernels.h"

namespace tessera::kernels {

// The table of an instruction set; nullptr: not in this build, or the processor or the operating
// system (which must save the wide registers) does not support it, or not an instruction set.
const KernelTable* RunnableIsaTable(Backend backend);

}  // namespace tessera::kernels

#endif  // TESSERA_KERNELS_CPU_FEATURES_H_
