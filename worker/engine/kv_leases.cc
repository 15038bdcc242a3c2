#include "worker/engine/kv_leases.h"

#include <algorithm>
#include <shared_mutex>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "services/base/check.h"
#include "services/base/status_macros.h"

namespace tessera::engine {
namespace {

absl::Status NoLease() {
  return absl::NotFoundError("there is no such KV lease, or its deadline has passed");
}

bool SamePictures(const std::vector<PromptImage>& a, const std::vector<PromptImage>& b) {
  return absl::c_equal(a, b, [](const PromptImage& x, const PromptImage& y) {
    return x.first_token == y.first_token && x.num_tokens == y.num_tokens &&
           x.identity == y.identity;
  });
}

}  // namespace

struct KvLeases::Entry {
  KvLease lease;
  std::unique_ptr<Sequence> holder;
  uint64_t kv_generation = 0;
  int64_t growth = 0;
  // Shared by those that write rows, alone by whoever closes: closing waits for copies under way,
  // and new ones do not find the lease any more.
  std::shared_mutex writing;
  bool closed = false;
  // [num_layers, num_tokens]: whether the row is there. Bytes of their own, as rows come from
  // several threads.
  std::vector<uint8_t> written;
};

KvLeases::KvLeases(absl::Span<const kernels::PagedKv> layers, const kv::RowShape& shape,
                   const Clock& clock)
    : layers_(layers), shape_(shape), clock_(clock) {}

KvLeases::~KvLeases() = default;

absl::Status KvLeases::CheckRows(const Entry& entry, int64_t layer, int64_t first_position,
                                 absl::Span<const std::byte> rows) const {
  const auto num_layers = static_cast<int64_t>(layers_.size());
  if (layer < 0 || layer >= num_layers) {
    return absl::InvalidArgumentError(
        absl::StrCat("layer is ", layer, ", must be in [0, ", num_layers, ")"));
  }
  const int64_t row_bytes = kv::RowBytes(shape_);
  const auto bytes = static_cast<int64_t>(rows.size());
  if (bytes == 0 || bytes % row_bytes != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("rows has ", bytes, " bytes, must have a positive multiple of ", row_bytes));
  }
  const int64_t first = entry.lease.num_cached_tokens;
  const int64_t last = entry.lease.num_tokens - bytes / row_bytes;
  if (first_position < first || first_position > last) {
    return absl::InvalidArgumentError(absl::StrCat("first_position is ", first_position,
                                                   ", must be in [", first, ", ", last, "] for ",
                                                   bytes / row_bytes, " rows of this lease"));
  }
  return absl::OkStatus();
}

absl::Status KvLeases::WriteRows(const std::string& id, int64_t layer, int64_t first_position,
                                 absl::Span<const std::byte> rows) {
  EntryPtr entry;
  {
    std::lock_guard lock(mutex_);
    const auto found = entries_.find(id);
    if (found == entries_.end()) return NoLease();
    entry = found->second;
  }
  std::shared_lock writing(entry->writing);
  if (entry->closed || clock_.Now() >= entry->lease.deadline) return NoLease();
  TESSERA_RETURN_IF_ERROR(CheckRows(*entry, layer, first_position, rows));
  const auto num_rows = static_cast<int64_t>(rows.size()) / kv::RowBytes(shape_);
  kv::WriteRows(layers_[layer], shape_, entry->lease.blocks, first_position, num_rows, rows);
  std::fill_n(entry->written.begin() + layer * entry->lease.num_tokens + first_position, num_rows,
              uint8_t{1});
  return absl::OkStatus();
}

absl::Status KvLeases::CheckClaim(const Entry& entry, const GenerationRequest& request) const {
  const GenerationRequest& leased = entry.holder->request;
  const auto num_leased = static_cast<size_t>(entry.lease.num_tokens);
  if (request.token_ids.size() <= num_leased ||
      request.num_prompt_tokens != leased.num_prompt_tokens ||
      request.cache_salt != leased.cache_salt ||
      !std::equal(leased.token_ids.begin(), leased.token_ids.end(), request.token_ids.begin()) ||
      !SamePictures(leased.images, request.images)) {
    return absl::InvalidArgumentError(
        absl::StrCat("kv_lease was taken for another prompt: the request must hold its ",
                     num_leased, " tokens, at least one more, its pictures and its salt"));
  }
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    const auto begin = entry.written.begin() + static_cast<int64_t>(layer * num_leased);
    const auto missing = std::find(begin + entry.lease.num_cached_tokens,
                                   begin + entry.lease.num_tokens, uint8_t{0});
    if (missing != begin + entry.lease.num_tokens) {
      return absl::FailedPreconditionError(absl::StrCat("kv_lease: the row of position ",
                                                        missing - begin, " of layer ", layer,
                                                        " has not been written"));
    }
  }
  return absl::OkStatus();
}

TakenLease KvLeases::Close(Entry& entry) {
  std::unique_lock writing(entry.writing);
  TESSERA_CHECK(!entry.closed);
  entry.closed = true;
  return {std::move(entry.lease), std::move(entry.holder), entry.kv_generation};
}

absl::StatusOr<TakenLease> KvLeases::Claim(const GenerationRequest& request) {
  EntryPtr entry;
  {
    std::lock_guard lock(mutex_);
    const auto found = entries_.find(request.kv_lease);
    if (found == entries_.end() || clock_.Now() >= found->second->lease.deadline) return NoLease();
    entry = found->second;
  }
  {
    // Alone: no row is on its way while they are counted.
    std::unique_lock writing(entry->writing);
    if (entry->closed) return NoLease();
    TESSERA_RETURN_IF_ERROR(CheckClaim(*entry, request));
  }
  {
    std::lock_guard lock(mutex_);
    const auto found = entries_.find(request.kv_lease);
    // Else the step loop came first.
    if (found == entries_.end() || found->second != entry) return NoLease();
    entries_.erase(found);
  }
  return Close(*entry);
}

bool KvLeases::Contains(const std::string& id) const {
  std::lock_guard lock(mutex_);
  return entries_.contains(id);
}

void KvLeases::Open(KvLease lease, std::unique_ptr<Sequence> holder, uint64_t kv_generation) {
  auto entry = std::make_shared<Entry>();
  const std::string id = lease.id;
  entry->written.resize(layers_.size() * static_cast<size_t>(lease.num_tokens));
  entry->growth =
      std::max<int64_t>(0, BlocksFor(holder->most_kv_tokens(), layers_[0].block_size_tokens) -
                               static_cast<int64_t>(lease.blocks.size()));
  entry->lease = std::move(lease);
  entry->holder = std::move(holder);
  entry->kv_generation = kv_generation;
  std::lock_guard lock(mutex_);
  TESSERA_CHECK(entries_.emplace(id, std::move(entry)).second) << "lease id in use";
}

std::optional<TakenLease> KvLeases::Take(const std::string& id) {
  EntryPtr entry;
  {
    std::lock_guard lock(mutex_);
    const auto found = entries_.find(id);
    if (found == entries_.end()) return std::nullopt;
    entry = std::move(found->second);
    entries_.erase(found);
  }
  return Close(*entry);
}

std::vector<TakenLease> KvLeases::TakeExpired() {
  const absl::Time now = clock_.Now();
  std::vector<EntryPtr> expired;
  {
    std::lock_guard lock(mutex_);
    absl::erase_if(entries_, [&](const auto& item) {
      if (now < item.second->lease.deadline) return false;
      expired.push_back(item.second);
      return true;
    });
  }
  std::vector<TakenLease> taken;
  for (const EntryPtr& entry : expired) taken.push_back(Close(*entry));
  return taken;
}

std::vector<TakenLease> KvLeases::TakeAll() {
  absl::flat_hash_map<std::string, EntryPtr> all;
  {
    std::lock_guard lock(mutex_);
    all.swap(entries_);
  }
  std::vector<TakenLease> taken;
  for (const auto& [id, entry] : all) taken.push_back(Close(*entry));
  return taken;
}

KvLeases::Totals KvLeases::totals() const {
  std::lock_guard lock(mutex_);
  Totals totals;
  totals.leases = static_cast<int64_t>(entries_.size());
  for (const auto& [id, entry] : entries_) {
    totals.blocks += static_cast<int64_t>(entry->lease.blocks.size());
    totals.most_growth = std::max(totals.most_growth, entry->growth);
    totals.next_deadline = std::min(totals.next_deadline, entry->lease.deadline);
  }
  return totals;
}

}  // namespace tessera::engine
