// A rendezvous among threads of the test.
#ifndef TESSERA_TESTS_WORKER_TRANSPORT_LOCAL_RENDEZVOUS_H_
#define TESSERA_TESTS_WORKER_TRANSPORT_LOCAL_RENDEZVOUS_H_

#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/transport/rendezvous.h"

namespace tessera::transport {

class LocalRendezvous {
 public:
  explicit LocalRendezvous(int size) : size_(size) {}

  // For one rank; must not outlive this object.
  Rendezvous ForRank(int rank);

 private:
  absl::StatusOr<std::vector<std::string>> Meet(int rank, std::string_view round,
                                                std::string_view mine, absl::Time deadline);

  const int size_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::map<int, std::string>> rounds_;
};

}  // namespace tessera::transport

#endif  // TESSERA_TESTS_WORKER_TRANSPORT_LOCAL_RENDEZVOUS_H_
