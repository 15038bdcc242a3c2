#include "kernels/cpu_features.h"

namespace tessera::kernels {

const KernelTable* RunnableIsaTable(Backend) { return nullptr; }

}  // namespace tessera::kernels
