// What each part of the model needs to run: the back end's ops, where they run, and how GEMMs
// round.
#ifndef TESSERA_WORKER_MODEL_COMPUTE_CONTEXT_H_
#define TESSERA_WORKER_MODEL_COMPUTE_CONTEXT_H_

#include "kernels/kernels.h"

namespace tessera::model {

// Not owning; one per model. Everything in it outlives the model's parts.
struct ComputeContext {
  const kernels::KernelTable* table = nullptr;
  kernels::Stream* stream = nullptr;
  kernels::Compute compute = kernels::Compute::kBF16;
};

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_COMPUTE_CONTEXT_H_
