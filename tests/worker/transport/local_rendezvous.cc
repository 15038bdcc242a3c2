#include "tests/worker/transport/local_rendezvous.h"

#include <algorithm>

#include "absl/time/clock.h"

namespace tessera::transport {

Rendezvous LocalRendezvous::ForRank(int rank) {
  return [this, rank](std::string_view round, std::string_view mine, absl::Time deadline) {
    return Meet(rank, round, mine, deadline);
  };
}

absl::StatusOr<std::vector<std::string>> LocalRendezvous::Meet(int rank, std::string_view round,
                                                               std::string_view mine,
                                                               absl::Time deadline) {
  std::unique_lock<std::mutex> lock(mutex_);
  std::map<int, std::string>& members = rounds_[std::string(round)];
  members[rank] = std::string(mine);
  changed_.notify_all();
  const absl::Duration left = std::min(deadline - absl::Now(), absl::Minutes(1));
  const bool all = changed_.wait_for(lock, absl::ToChronoMilliseconds(left),
                                     [&] { return members.size() == static_cast<size_t>(size_); });
  if (!all) return absl::DeadlineExceededError("a member did not come");
  std::vector<std::string> result;
  for (const auto& [member, bytes] : members) result.push_back(bytes);
  return result;
}

}  // namespace tessera::transport
