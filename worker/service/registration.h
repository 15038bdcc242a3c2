// Keeps a worker known to the router: registers, renews the lease, comes back when it was
// forgotten.
#ifndef TESSERA_WORKER_SERVICE_REGISTRATION_H_
#define TESSERA_WORKER_SERVICE_REGISTRATION_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "worker/engine/engine.h"
#include "worker/service/block_log.h"

namespace tessera::worker {

// Where a worker stands in its group, for as long as the process lives.
struct GroupSeat {
  std::string group;  // empty: none
  int64_t stages = 1;
  int64_t expert_ranks = 1;
  int64_t stage = 0;
  int64_t expert_rank = 0;
};

// What the router is told once.
struct WorkerDescription {
  std::string worker_id;       // unique in the cluster
  std::string address;         // host:port that gateways reach
  std::string model_revision;  // hexadecimal
  std::string model_name;
  int64_t context_tokens = 0;
  int64_t kv_block_size_tokens = 0;
  int64_t max_queued_requests = 0;
  std::string numerics;       // ranks that differ never serve one request
  std::string role = "both";  // both, prefill, decode
  int64_t started_at_ms = 0;  // of the process, Unix time; 0: now
  GroupSeat seat;
};

struct RegistrationHooks {
  std::function<engine::EngineSnapshot()> load;  // thread safe
  // Called on the registration's thread each time the router has accepted the worker, with the
  // cluster's epoch at that moment. May be empty.
  std::function<void(uint64_t epoch)> on_registered;
  // The epoch of its group that the worker stands in, 0: none. Thread safe; for workers with a
  // seat.
  std::function<uint64_t()> group_epoch;
  // As WorkerLoad says; thread safe. May be empty.
  std::function<double()> expert_imbalance;
  BlockLog* blocks = nullptr;  // reported if set; outlives the registration
};

// Runs a thread of its own. Each call to the router has a deadline; failures are retried with
// growing, jittered pauses, for as long as the object lives.
class Registration {
 public:
  Registration(const std::string& router_address, WorkerDescription description,
               RegistrationHooks hooks);
  ~Registration();  // as Stop
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;

  // Tells the router at once, and with each heartbeat, to send no new requests.
  void SetDraining();
  // The next heartbeat comes at once: something has changed that the router should know.
  void Hurry();
  // Says goodbye to the router (one try) and ends the thread. At most some seconds.
  void Stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The pause before try number `failures` + 1: doubles from 100 ms to 2 s, then varied by `uniform`
// in [0, 1) to between half and the whole of it, so that workers do not come back all at once.
absl::Duration RetryPause(int failures, double uniform);

}  // namespace tessera::worker

#endif  // TESSERA_WORKER_SERVICE_REGISTRATION_H_
