// The handoff of K and V from the rank that computes a prompt to the rank that generates, as an
// engine sees it. The bytes travel elsewhere (worker/service).
//
// A handoff: the decode rank leases blocks for all prompt tokens; the prefill rank writes its rows
// into them layer by layer while it computes; then the decode rank adopts the blocks with the
// request. A lease that is not adopted by its deadline is reclaimed and counted.
#ifndef TESSERA_WORKER_ENGINE_KV_TRANSFER_H_
#define TESSERA_WORKER_ENGINE_KV_TRANSFER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace tessera::engine {

// Prefill side. Receives the rows of one prompt as they are computed; owned by the request, called
// on the engine's thread, must not block (it copies and queues).
class KvExport {
 public:
  virtual ~KvExport() = default;
  // Rows of positions [first_position, first_position + num_rows) of a layer are in the pages.
  // rows: their bytes in order, num_rows * KvLayout::row_elements elements of the layout's dtype.
  virtual void OnRows(int64_t layer, int64_t first_position, int64_t num_rows,
                      absl::Span<const std::byte> rows) = 0;
  // All rows of the prompt were handed over; called once, before the first token's event.
  virtual void OnComplete() = 0;
};

// Decode side: blocks that are leased to a handoff.
struct KvLease {
  std::string id;                 // of the handoff
  int64_t num_tokens = 0;         // of the prompt: rows to be written
  int64_t num_cached_tokens = 0;  // leading rows, whole blocks, that are here already
  std::vector<int32_t> blocks;    // in order of the tokens, the cached ones included
  absl::Time deadline;
};

struct KvLeaseCounts {
  uint64_t granted = 0;
  uint64_t adopted = 0;
  uint64_t released = 0;   // given back by the prefill side
  uint64_t reclaimed = 0;  // the deadline passed
  uint64_t lost = 0;       // the group lost K and V, or the rank its place in the group
};

}  // namespace tessera::engine

#endif  // TESSERA_WORKER_ENGINE_KV_TRANSFER_H_
