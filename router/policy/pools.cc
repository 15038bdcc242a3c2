#include "router/policy/pools.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace tessera::router {
namespace {

bool IsFull(const WorkerView& worker) {
  const WorkerLoad& load = worker.load;
  return load.max_queued_requests > 0 &&
         load.queued_requests + worker.reserved_requests >= load.max_queued_requests;
}

// The last token of an answer is never fed back, so it needs no KV; a prefill rank holds the prompt
// alone.
bool CanEverHold(const WorkerView& worker, const RequestShape& shape) {
  const int64_t block_size = worker.description.kv_block_size_tokens;
  if (worker.load.kv_blocks_total <= 0 || block_size <= 0) {
    return true;
  }
  const int64_t rows =
      worker.description.role == WorkerRole::kPrefill ? shape.prompt_tokens : shape.tokens() - 1;
  return (rows + block_size - 1) / block_size <= worker.load.kv_blocks_total;
}

// The counter that the worker falls under; nullptr: it is eligible.
int64_t* Refusal(const WorkerView& worker, const RequestShape& shape, Refusals& refusals) {
  const WorkerDescription& description = worker.description;
  const auto& excluded = shape.excluded_workers;
  if (description.model_revision != shape.model_revision) {
    return &refusals.other_revision;
  }
  if (!shape.numerics.empty() && description.numerics != shape.numerics) {
    return &refusals.other_numerics;
  }
  if (worker.place.stage > 0) {
    return &refusals.later_stage;
  }
  if (!CanEverHold(worker, shape)) {
    return &refusals.too_small;
  }
  if (worker.draining) {
    return &refusals.draining;
  }
  if (!worker.place.group.empty() && worker.place.epoch == 0) {
    return &refusals.no_group;
  }
  if (std::find(excluded.begin(), excluded.end(), description.id) != excluded.end()) {
    return &refusals.excluded;
  }
  return IsFull(worker) ? &refusals.full : nullptr;
}

}  // namespace

PoolState Pool::state() const {
  if (!eligible.empty()) {
    return PoolState::kServing;
  }
  if (size == 0) {
    return PoolState::kAbsent;
  }
  if (refusals.full > 0) {
    return PoolState::kFull;
  }
  const int64_t serving_this =
      size - refusals.other_revision - refusals.other_numerics - refusals.later_stage;
  return refusals.too_small > 0 && refusals.too_small == serving_this ? PoolState::kTooSmall
                                                                      : PoolState::kUnavailable;
}

std::string Pool::WhyNot() const {
  if (size == 0) {
    return "no worker";
  }
  std::string text;
  const auto add = [&text](int64_t count, const char* what) {
    if (count > 0) {
      absl::StrAppend(&text, text.empty() ? "" : ", ", count, " ", what);
    }
  };
  add(refusals.other_revision, "with another model revision");
  add(refusals.other_numerics, "with other numerics");
  add(refusals.later_stage, "of a later stage");
  add(refusals.too_small, "with too little KV for it");
  add(refusals.draining, "draining");
  add(refusals.no_group, "waiting for the ranks of their group");
  add(refusals.excluded, "failed this request before");
  add(refusals.full, "with a full queue");
  return text;
}

Pool FindPool(WorkerRole role, const RequestShape& shape, const ClusterSnapshot& snapshot) {
  Pool pool;
  for (const WorkerView& worker : snapshot.workers) {
    if (worker.description.role != role) {
      continue;
    }
    ++pool.size;
    if (int64_t* refusal = Refusal(worker, shape, pool.refusals); refusal != nullptr) {
      ++*refusal;
    } else {
      pool.eligible.push_back(&worker);
    }
  }
  return pool;
}

}  // namespace tessera::router
