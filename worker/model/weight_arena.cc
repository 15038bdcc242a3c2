#include <algorithm>
#include <utility>

#include "services/base/status_macros.h"
#include "worker/model/weights.h"

namespace tessera::model {
namespace {

constexpr int64_t kSlabBytes = 64 << 20;
constexpr int64_t kAlignment = 64;

}  // namespace

int64_t WeightArena::Aligned(int64_t bytes) {
  return (std::max<int64_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
}

absl::StatusOr<void*> WeightArena::Allocate(int64_t bytes) {
  const int64_t rounded = Aligned(bytes);
  if (slabs_.empty() || used_in_last_slab_ + rounded > slabs_.back().bytes()) {
    // A slab's rest stays untouched and so costs no memory.
    TESSERA_ASSIGN_OR_RETURN(MappedBuffer slab,
                             MappedBuffer::Create(std::max(rounded, kSlabBytes)));
    slabs_.push_back(std::move(slab));
    used_in_last_slab_ = 0;
  }
  void* piece = static_cast<uint8_t*>(slabs_.back().data()) + used_in_last_slab_;
  used_in_last_slab_ += rounded;
  allocated_bytes_ += rounded;
  return piece;
}

}  // namespace tessera::model
