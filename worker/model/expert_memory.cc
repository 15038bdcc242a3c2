#include "worker/model/expert_memory.h"

#include <utility>

#include "services/base/check.h"
#include "services/base/status_macros.h"

namespace tessera::model {

absl::Status ExpertMemory::Reserve(const std::map<int32_t, int64_t>& bytes_of_expert) {
  TESSERA_CHECK(places_.empty() && holdings_.empty()) << "experts hold memory";
  int64_t total = 0;
  for (const auto& [expert, bytes] : bytes_of_expert) total += MappedBuffer::WholePages(bytes);
  if (total == 0) return absl::OkStatus();
  TESSERA_ASSIGN_OR_RETURN(shared_, MappedBuffer::Create(total));
  auto* data = static_cast<uint8_t*>(shared_.data());
  for (const auto& [expert, bytes] : bytes_of_expert) {
    const int64_t whole = MappedBuffer::WholePages(bytes);
    places_.emplace(expert, Place{data, whole});
    data += whole;
  }
  return absl::OkStatus();
}

absl::StatusOr<void*> ExpertMemory::Allocate(int32_t expert, int64_t bytes) {
  TESSERA_CHECK(!holdings_.contains(expert)) << "expert " << expert << " holds memory";
  Holding holding;
  holding.bytes = bytes;
  void* data = nullptr;
  const auto place = places_.find(expert);
  if (place != places_.end() && place->second.bytes >= bytes) {
    data = place->second.data;
  } else {
    TESSERA_ASSIGN_OR_RETURN(holding.own, MappedBuffer::Create(bytes));
    data = holding.own.data();
  }
  holdings_.emplace(expert, std::move(holding));
  allocated_bytes_ += bytes;
  return data;
}

void ExpertMemory::Free(int32_t expert) {
  const auto holding = holdings_.find(expert);
  if (holding == holdings_.end()) return;
  if (holding->second.own.data() == nullptr) {
    const Place& place = places_.at(expert);
    shared_.Discard(place.data, place.bytes);
  }
  allocated_bytes_ -= holding->second.bytes;
  holdings_.erase(holding);
}

}  // namespace tessera::model
