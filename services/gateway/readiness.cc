#include "services/gateway/readiness.h"

#include <set>

#include "tessera/v1/router.pb.h"

namespace tessera::gateway {
namespace {

bool TakesRequests(const v1::ClusterWorker& worker) {
  const v1::GroupPlace& place = worker.place();
  return !worker.draining() && place.stage() == 0 && (place.group().empty() || place.epoch() > 0);
}

}  // namespace

bool CanServe(const v1::Cluster& cluster, const std::string& model_revision) {
  std::set<std::string> prefill;  // numerics
  std::set<std::string> decode;
  for (const v1::ClusterWorker& worker : cluster.workers()) {
    if (worker.model_revision() != model_revision || !TakesRequests(worker)) continue;
    if (worker.role() == v1::WORKER_ROLE_BOTH) return true;
    if (worker.role() == v1::WORKER_ROLE_PREFILL) prefill.insert(worker.numerics());
    if (worker.role() == v1::WORKER_ROLE_DECODE) decode.insert(worker.numerics());
  }
  for (const std::string& numerics : prefill) {
    if (decode.contains(numerics)) return true;
  }
  return false;
}

}  // namespace tessera::gateway
