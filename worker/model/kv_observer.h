// Follows K and V into the pages while a step runs.
#ifndef TESSERA_WORKER_MODEL_KV_OBSERVER_H_
#define TESSERA_WORKER_MODEL_KV_OBSERVER_H_

#include <cstdint>

namespace tessera::model {

// Hears that K and V of a step's rows are in the pages of a layer, before the layer goes on; not
// called for a step without rows. Called on the thread that runs the step; must not block for long.
class KvObserver {
 public:
  virtual ~KvObserver() = default;
  virtual void OnKvWritten(int64_t local_layer) = 0;  // counted from the shard's first layer
};

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_KV_OBSERVER_H_
