// All-gathers among the members of an epoch. A part lives as long as the call that brought it: all
// parts of a round are answered together, or not at all. Not thread safe.
#ifndef TESSERA_ROUTER_GROUP_EXCHANGE_TABLE_H_
#define TESSERA_ROUTER_GROUP_EXCHANGE_TABLE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tessera::router {

inline constexpr size_t kMaxExchangeBytes = 64 << 10;
inline constexpr size_t kMaxExchangeRounds = 64;  // open at once per group
inline constexpr size_t kMaxRoundNameBytes = 128;

class ExchangeTable {
 public:
  // Called once, from within a method of the table: everybody's parts by rank, or why not.
  using Answer = std::function<void(const absl::StatusOr<std::vector<std::string>>& parts)>;

  struct Part {
    std::string group;
    uint64_t epoch = 0;
    int32_t rank = 0;
    std::string round;
    std::string data;
  };

  // ranks: members of the epoch; calls of another epoch must have been ended. Returns a ticket,
  // which is over when the answer has come; that may be before Add returns. A rank that comes again
  // takes the place of its earlier call, which is ABORTED. INVALID_ARGUMENT names the field;
  // RESOURCE_EXHAUSTED: too many open rounds. Then there is no answer.
  absl::StatusOr<uint64_t> Add(Part part, int32_t ranks, Answer answer);

  // The call is over without an answer. Tickets that are over are ignored.
  void Remove(uint64_t ticket);

  // ABORTED for all calls of the group that are not of this epoch.
  void AbortOthers(const std::string& group, uint64_t epoch);
  // For all calls.
  void EndAll(const absl::Status& reason);

  size_t open_calls() const { return keys_.size(); }

 private:
  struct Call {
    uint64_t ticket = 0;
    std::string data;
    Answer answer;
  };
  using Key = std::pair<std::string, std::string>;  // group, round
  struct Round {
    uint64_t epoch = 0;
    std::map<int32_t, Call> calls;  // by rank
  };

  void EndRound(std::map<Key, Round>::iterator round, const absl::Status& reason);
  size_t RoundsOf(const std::string& group) const;

  uint64_t next_ticket_ = 1;
  std::map<Key, Round> rounds_;
  std::map<uint64_t, Key> keys_;  // by ticket
};

}  // namespace tessera::router

#endif  // TESSERA_ROUTER_GROUP_EXCHANGE_TABLE_H_
