// Who is in the cluster. A worker stays as long as it renews its lease; each change of membership
// makes a new epoch. Thread safe.
#ifndef TESSERA_ROUTER_WORKER_REGISTRY_H_
#define TESSERA_ROUTER_WORKER_REGISTRY_H_

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "router/policy/block_set.h"
#include "router/policy/cluster.h"
#include "services/base/clock.h"

namespace tessera::router {

// A snapshot's worker with what only people want to know.
struct RegisteredWorker {
  WorkerView view;
  absl::Duration heartbeat_age;
};

// What a worker says with each heartbeat.
struct HeartbeatReport {
  WorkerLoad load;
  bool draining = false;            // for good: it ends with the registration
  int64_t started_at_ms = 0;        // as registered
  std::optional<GroupPlace> place;  // not set: as before
  std::vector<BlockEvent> block_events;
  bool block_events_are_all = false;
};

class WorkerRegistry {
 public:
  // lease: time after the last heartbeat at which a worker is gone. clock outlives the registry.
  WorkerRegistry(absl::Duration lease, const Clock& clock);

  // Returns the epoch. The same id from the same address, or from a later start, is that worker
  // come back: it takes the earlier one's place at once. The same id from another address that did
  // not start later is ALREADY_EXISTS while the lease holds. INVALID_ARGUMENT names the field that
  // is empty or too long.
  // A new registration knows no blocks until the worker tells of all.
  absl::StatusOr<uint64_t> Register(const WorkerDescription& description, const WorkerLoad& load,
                                    const GroupPlace& place = {});

  // Renews the lease and returns the epoch. NOT_FOUND: unknown, expired, or a later start has taken
  // the id.
  absl::StatusOr<uint64_t> Heartbeat(const WorkerId& id, const HeartbeatReport& report);

  // The worker is gone; unknown ids, and starts before the registered one, are ignored.
  void Deregister(const WorkerId& id, int64_t started_at_ms = 0);

  // Counts a request that was just placed, until the worker's next heartbeat reports it. Unknown
  // ids are ignored.
  void Reserve(const WorkerId& id, int64_t tokens);

  // All whose lease holds. block_hashes: short hashes of a prompt's full blocks of so many tokens;
  // known_prefix_tokens tells how many of these tokens each worker knows, 0 for workers with
  // another block size.
  ClusterSnapshot Snapshot(absl::Span<const uint64_t> block_hashes = {},
                           int64_t block_hash_size_tokens = 0);
  std::vector<RegisteredWorker> Workers();
  uint64_t epoch();
  uint64_t expired_leases();  // since the start

 private:
  struct Record {
    WorkerView view;
    absl::Time last_heartbeat;
    BlockSet blocks;
  };

  void DropExpired();  // mutex_ is held

  const absl::Duration lease_;
  const Clock& clock_;
  std::mutex
      mutex_;  // not absl's: the packaged one is invisible to ThreadSanitizer. Guards what follows.
  uint64_t epoch_ = 1;
  uint64_t expired_leases_ = 0;
  std::map<WorkerId, Record> records_;
};

}  // namespace tessera::router

#endif  // TESSERA_ROUTER_WORKER_REGISTRY_H_
