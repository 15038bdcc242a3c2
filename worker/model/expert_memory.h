// Memory of the routed experts of one layer, given back expert by expert.
#ifndef TESSERA_WORKER_MODEL_EXPERT_MEMORY_H_
#define TESSERA_WORKER_MODEL_EXPERT_MEMORY_H_

#include <cstdint>
#include <map>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/model/mapped_buffer.h"

namespace tessera::model {

// The experts that a shard starts with share one mapping, so that small ones lie in huge pages too.
// Each begins on a page of its own there, so that its pages can go back alone; an expert that comes
// later has a mapping of its own. Not thread safe.
class ExpertMemory {
 public:
  // Makes places in one mapping: expert id → bytes. Called at most once, before Allocate.
  absl::Status Reserve(const std::map<int32_t, int64_t>& bytes_of_expert);

  // Zero-filled memory, 64-byte aligned, valid until Free. The expert holds none yet.
  // RESOURCE_EXHAUSTED as MappedBuffer.
  absl::StatusOr<void*> Allocate(int32_t expert, int64_t bytes);
  // Gives the expert's pages back to the system; a no-op if it holds none.
  void Free(int32_t expert);

  int64_t allocated_bytes() const { return allocated_bytes_; }

 private:
  struct Place {
    uint8_t* data = nullptr;
    int64_t bytes = 0;
  };
  struct Holding {
    int64_t bytes = 0;
    MappedBuffer own;  // empty: in its place of the shared mapping
  };

  MappedBuffer shared_;
  std::map<int32_t, Place> places_;
  std::map<int32_t, Holding> holdings_;
  int64_t allocated_bytes_ = 0;
};

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_EXPERT_MEMORY_H_
