#include <algorithm>

#include "absl/strings/str_cat.h"
#include "router/policy/policy.h"

namespace tessera::router {
namespace {

// Why workers were left out, in the order of the checks.
struct Refusals {
  int64_t other_role = 0;
  int64_t other_revision = 0;
  int64_t other_numerics = 0;
  int64_t draining = 0;
  int64_t excluded = 0;
  int64_t full = 0;

  std::string ToString() const {
    std::string text;
    const auto add = [&text](int64_t count, const char* what) {
      if (count > 0) {
        absl::StrAppend(&text, text.empty() ? "" : ", ", count, " ", what);
      }
    };
    add(other_role, "of another role");
    add(other_revision, "with another model revision");
    add(other_numerics, "with other numerics");
    add(draining, "draining");
    add(excluded, "failed this request before");
    add(full, "with a full queue");
    return text;
  }
};

bool IsFull(const WorkerView& worker) {
  const WorkerLoad& load = worker.load;
  return load.max_queued_requests > 0 &&
         load.queued_requests + worker.reserved_requests >= load.max_queued_requests;
}

// The counter that the worker falls under; nullptr: it is eligible.
int64_t* Refusal(const WorkerView& worker, const RequestShape& shape, Refusals& refusals) {
  const WorkerDescription& description = worker.description;
  const auto& excluded = shape.excluded_workers;
  if (description.role != WorkerRole::kBoth) {
    return &refusals.other_role;
  }
  if (description.model_revision != shape.model_revision) {
    return &refusals.other_revision;
  }
  if (!shape.numerics.empty() && description.numerics != shape.numerics) {
    return &refusals.other_numerics;
  }
  if (worker.draining) {
    return &refusals.draining;
  }
  if (std::find(excluded.begin(), excluded.end(), description.id) != excluded.end()) {
    return &refusals.excluded;
  }
  return IsFull(worker) ? &refusals.full : nullptr;
}

}  // namespace

absl::StatusOr<std::vector<const WorkerView*>> EligibleWorkers(const RequestShape& shape,
                                                               const ClusterSnapshot& snapshot) {
  std::vector<const WorkerView*> eligible;
  Refusals refusals;
  for (const WorkerView& worker : snapshot.workers) {
    if (int64_t* refusal = Refusal(worker, shape, refusals); refusal != nullptr) {
      ++*refusal;
    } else {
      eligible.push_back(&worker);
    }
  }
  if (!eligible.empty()) {
    return eligible;
  }
  if (snapshot.workers.empty()) {
    return absl::UnavailableError("no worker is registered");
  }
  const std::string message = absl::StrCat("none of ", snapshot.workers.size(),
                                           " workers can take the request: ", refusals.ToString());
  return refusals.full > 0 ? absl::ResourceExhaustedError(message)
                           : absl::UnavailableError(message);
}

}  // namespace tessera::router
