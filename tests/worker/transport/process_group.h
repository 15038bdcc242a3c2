// Ranks that are processes: forked by a test, with a rendezvous over socket pairs that all hold.
#ifndef TESSERA_TESTS_WORKER_TRANSPORT_PROCESS_GROUP_H_
#define TESSERA_TESTS_WORKER_TRANSPORT_PROCESS_GROUP_H_

#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/transport/rendezvous.h"

namespace tessera::transport {

class ProcessGroup {
 public:
  explicit ProcessGroup(int size);
  ~ProcessGroup();  // kills and reaps the processes that are left

  // A new process that runs `body` and exits with what it returns. The caller has one thread.
  pid_t Fork(const std::function<int()>& body);
  // Its exit code; -1: it was killed.
  int Join(pid_t process);

  // Rank 0 gathers and answers, so all calls fail once its process is gone.
  Rendezvous ForRank(int rank);

 private:
  absl::StatusOr<std::vector<std::string>> Gather(std::string_view mine, absl::Time deadline);
  absl::StatusOr<std::vector<std::string>> Join(int rank, std::string_view mine,
                                                absl::Time deadline);

  const int size_;
  std::vector<int> hub_ends_;  // of rank 0, by the other rank; the first is none
  std::vector<int> ends_;
  std::vector<pid_t> processes_;
};

}  // namespace tessera::transport

#endif  // TESSERA_TESTS_WORKER_TRANSPORT_PROCESS_GROUP_H_
