// Blocks that are leased to prompts of other ranks: rows arrive from any thread while the step loop
// goes on. Who pays for the blocks is the step loop's business; this table holds them.
#ifndef TESSERA_WORKER_ENGINE_KV_LEASES_H_
#define TESSERA_WORKER_ENGINE_KV_LEASES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "services/base/clock.h"
#include "worker/engine/kv_transfer.h"
#include "worker/engine/sequence.h"
#include "worker/kv/kv.h"
#include "worker/kv/kv_rows.h"

namespace tessera::engine {

// A lease that is no longer in the table: nobody writes to its blocks. Whoever has it owns their
// references.
struct TakenLease {
  KvLease lease;
  std::unique_ptr<Sequence> holder;  // of the blocks, with the request that they were leased for
  uint64_t kv_generation = 0;        // see Open
};

// Thread safe. A lease leaves the table as a whole: after that its rows cannot be written, and a
// write under way has ended.
class KvLeases {
 public:
  // layers: the pages, [num_layers]; they and the clock outlive the table.
  KvLeases(absl::Span<const kernels::PagedKv> layers, const kv::RowShape& shape,
           const Clock& clock);
  ~KvLeases();
  KvLeases(const KvLeases&) = delete;
  KvLeases& operator=(const KvLeases&) = delete;

  // As Engine::WriteRows.
  absl::Status WriteRows(const std::string& id, int64_t layer, int64_t first_position,
                         absl::Span<const std::byte> rows);

  // Takes the lease that the request names. NOT_FOUND: there is none, or its deadline has passed;
  // INVALID_ARGUMENT: it was taken for another prompt; FAILED_PRECONDITION: rows are missing. After
  // a failure the lease stays as it was.
  absl::StatusOr<TakenLease> Claim(const GenerationRequest& request);

  bool Contains(const std::string& id) const;
  // id is not in the table; holder: see TakenLease, its blocks are those of the lease.
  // kv_generation: comes back with the lease.
  void Open(KvLease lease, std::unique_ptr<Sequence> holder, uint64_t kv_generation);
  std::optional<TakenLease> Take(const std::string& id);  // nullopt: unknown
  std::vector<TakenLease> TakeExpired();
  std::vector<TakenLease> TakeAll();

  // Of all leases.
  struct Totals {
    int64_t leases = 0;
    int64_t blocks = 0;
    int64_t most_growth = 0;  // largest number of blocks that an answer may need beyond its lease
    absl::Time next_deadline = absl::InfiniteFuture();
  };
  Totals totals() const;

 private:
  struct Entry;
  using EntryPtr = std::shared_ptr<Entry>;

  static TakenLease Close(Entry& entry);
  absl::Status CheckRows(const Entry& entry, int64_t layer, int64_t first_position,
                         absl::Span<const std::byte> rows) const;
  absl::Status CheckClaim(const Entry& entry, const GenerationRequest& request) const;

  const absl::Span<const kernels::PagedKv> layers_;
  const kv::RowShape shape_;
  const Clock& clock_;
  mutable std::mutex mutex_;  // guards the table; an entry's lock is never waited for under it
  absl::flat_hash_map<std::string, EntryPtr> entries_;
};

}  // namespace tessera::engine

#endif  // TESSERA_WORKER_ENGINE_KV_LEASES_H_
