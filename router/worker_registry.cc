#include "router/worker_registry.h"

#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"

namespace tessera::router {
namespace {

constexpr size_t kMaxIdBytes = 128;
constexpr size_t kMaxTextBytes = 512;
constexpr size_t kMaxGroupBytes = 64;

absl::Status CheckText(std::string_view field, std::string_view value, size_t max_bytes) {
  const absl::string_view name(field.data(), field.size());
  if (value.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(name, " is empty"));
  }
  if (value.size() > max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, " has ", value.size(), " bytes, at most ", max_bytes, " are allowed"));
  }
  return absl::OkStatus();
}

absl::Status CheckDescription(const WorkerDescription& description) {
  TESSERA_RETURN_IF_ERROR(CheckText("worker_id", description.id.value(), kMaxIdBytes));
  TESSERA_RETURN_IF_ERROR(CheckText("address", description.address, kMaxTextBytes));
  TESSERA_RETURN_IF_ERROR(CheckText("model_revision", description.model_revision, kMaxTextBytes));
  return CheckText("numerics", description.numerics, kMaxTextBytes);
}

absl::Status CheckPlace(const GroupPlace& place) {
  if (place.group.empty()) {
    return absl::OkStatus();
  }
  TESSERA_RETURN_IF_ERROR(CheckText("place.group", place.group, kMaxGroupBytes));
  if (place.stage < 0 || place.stage >= place.stages) {
    return absl::InvalidArgumentError(
        absl::StrCat("place.stage: ", place.stage, " is not one of ", place.stages, " stages"));
  }
  if (place.expert_rank < 0 || place.expert_rank >= place.expert_ranks) {
    return absl::InvalidArgumentError(absl::StrCat("place.expert_rank: ", place.expert_rank,
                                                   " is not one of ", place.expert_ranks,
                                                   " expert ranks"));
  }
  return absl::OkStatus();
}

}  // namespace

WorkerRegistry::WorkerRegistry(absl::Duration lease, const Clock& clock)
    : lease_(lease), clock_(clock) {}

absl::StatusOr<uint64_t> WorkerRegistry::Register(const WorkerDescription& description,
                                                  const WorkerLoad& load, const GroupPlace& place) {
  TESSERA_RETURN_IF_ERROR(CheckDescription(description));
  TESSERA_RETURN_IF_ERROR(CheckPlace(place));
  const std::lock_guard lock(mutex_);
  DropExpired();
  const auto found = records_.find(description.id);
  if (found != records_.end() && found->second.view.description.address != description.address &&
      found->second.view.description.started_at_ms >= description.started_at_ms) {
    return absl::AlreadyExistsError(absl::StrCat("worker_id \"", description.id.value(),
                                                 "\" belongs to a live worker at another address"));
  }
  Record record;
  record.view.description = description;
  record.view.load = load;
  record.view.place = place;
  record.last_heartbeat = clock_.Now();
  records_.insert_or_assign(description.id, std::move(record));
  ++epoch_;
  TESSERA_LOG(kInfo).With("worker", description.id).With("epoch", epoch_) << "worker joined";
  return epoch_;
}

absl::StatusOr<uint64_t> WorkerRegistry::Heartbeat(const WorkerId& id,
                                                   const HeartbeatReport& report) {
  if (report.place.has_value()) {
    TESSERA_RETURN_IF_ERROR(CheckPlace(*report.place));
  }
  const std::lock_guard lock(mutex_);
  DropExpired();
  const auto found = records_.find(id);
  if (found == records_.end() ||
      report.started_at_ms < found->second.view.description.started_at_ms) {
    return absl::NotFoundError(
        absl::StrCat("worker_id \"", id.value(), "\" holds no lease: register again"));
  }
  Record& record = found->second;
  record.last_heartbeat = clock_.Now();
  record.view.load = report.load;
  record.view.reserved_requests = 0;
  record.view.reserved_tokens = 0;
  record.view.draining = record.view.draining || report.draining;
  if (report.place.has_value()) {
    record.view.place = *report.place;
  }
  record.blocks.Apply(report.block_events, report.block_events_are_all);
  return epoch_;
}

void WorkerRegistry::Deregister(const WorkerId& id, int64_t started_at_ms) {
  const std::lock_guard lock(mutex_);
  const auto found = records_.find(id);
  if (found == records_.end() || started_at_ms < found->second.view.description.started_at_ms) {
    return;
  }
  records_.erase(found);
  ++epoch_;
  TESSERA_LOG(kInfo).With("worker", id).With("epoch", epoch_) << "worker left";
}

void WorkerRegistry::Reserve(const WorkerId& id, int64_t tokens) {
  const std::lock_guard lock(mutex_);
  const auto found = records_.find(id);
  if (found != records_.end()) {
    ++found->second.view.reserved_requests;
    found->second.view.reserved_tokens += tokens;
  }
}

ClusterSnapshot WorkerRegistry::Snapshot(absl::Span<const uint64_t> block_hashes,
                                         int64_t block_hash_size_tokens) {
  const std::lock_guard lock(mutex_);
  DropExpired();
  ClusterSnapshot snapshot;
  snapshot.epoch = epoch_;
  for (const auto& [id, record] : records_) {
    WorkerView& view = snapshot.workers.emplace_back(record.view);
    if (view.description.kv_block_size_tokens == block_hash_size_tokens) {
      view.known_prefix_tokens = record.blocks.LeadingRun(block_hashes) * block_hash_size_tokens;
    }
  }
  return snapshot;
}

std::vector<RegisteredWorker> WorkerRegistry::Workers() {
  const std::lock_guard lock(mutex_);
  DropExpired();
  std::vector<RegisteredWorker> workers;
  for (const auto& [id, record] : records_) {
    workers.push_back({record.view, clock_.Now() - record.last_heartbeat});
  }
  return workers;
}

uint64_t WorkerRegistry::epoch() {
  const std::lock_guard lock(mutex_);
  DropExpired();
  return epoch_;
}

uint64_t WorkerRegistry::expired_leases() {
  const std::lock_guard lock(mutex_);
  DropExpired();
  return expired_leases_;
}

void WorkerRegistry::DropExpired() {
  const absl::Time oldest = clock_.Now() - lease_;
  for (auto it = records_.begin(); it != records_.end();) {
    if (it->second.last_heartbeat >= oldest) {
      ++it;
      continue;
    }
    ++epoch_;
    ++expired_leases_;
    TESSERA_LOG(kWarning).With("worker", it->first).With("epoch", epoch_)
        << "lease ended without a heartbeat";
    it = records_.erase(it);
  }
}

}  // namespace tessera::router
