// Ids that cannot be mixed up: a WorkerId is no RankId although both are small numbers or strings.
#ifndef TESSERA_SERVICES_BASE_IDS_H_
#define TESSERA_SERVICES_BASE_IDS_H_

#include <compare>
#include <cstdint>
#include <ostream>
#include <string>
#include <utility>

namespace tessera {

template <typename Tag, typename Value>
class StrongId {
 public:
  StrongId() = default;
  explicit StrongId(Value value) : value_(std::move(value)) {}
  const Value& value() const { return value_; }
  friend auto operator<=>(const StrongId&, const StrongId&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const StrongId& id) {
    return H::combine(std::move(h), id.value_);
  }
  friend std::ostream& operator<<(std::ostream& out, const StrongId& id) {
    return out << id.value_;
  }

 private:
  Value value_{};
};

using RequestId =
    StrongId<struct RequestIdTag, std::string>;  // chosen by the client or by the gateway
using WorkerId =
    StrongId<struct WorkerIdTag, std::string>;         // chosen by the worker, unique in a cluster
using BlockId = StrongId<struct BlockIdTag, int32_t>;  // index of a KV block in its pool

}  // namespace tessera

#endif  // TESSERA_SERVICES_BASE_IDS_H_
