// What the outside sees of a worker process of any kind: its listener, its health, its registration
// and its metrics.
#ifndef TESSERA_WORKER_SERVICE_RANK_EDGE_H_
#define TESSERA_WORKER_SERVICE_RANK_EDGE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/config/config.h"
#include "services/rpc/server.h"
#include "services/telemetry/metrics.h"
#include "worker/service/registration.h"

namespace tessera::worker {

// Serving means: the router has accepted the worker, it does not drain, and, in a group, it stands
// in an epoch. Thread safe once Announce has been called.
class RankEdge {
 public:
  // ready_fd: as RunWorker.
  explicit RankEdge(int ready_fd) : ready_fd_(ready_fd) {}
  ~RankEdge() { Close(absl::Now()); }
  RankEdge(const RankEdge&) = delete;
  RankEdge& operator=(const RankEdge&) = delete;

  telemetry::Metrics& metrics() { return metrics_; }

  // Listens; health says NOT_SERVING. The service outlives Close. INVALID_ARGUMENT: nobody could
  // reach it.
  absl::Status Listen(const config::WorkerSettings& settings, grpc::Service& service);
  const std::string& address() const { return address_; }  // host:port that others reach
  const std::string& id() const { return id_; }
  uint64_t registered_epoch() const { return registered_epoch_; }

  // Registers, if there is a router. hooks.on_registered is the edge's own; group_epoch: set for a
  // rank of a group.
  void Announce(const std::string& router_address, WorkerDescription description,
                RegistrationHooks hooks);
  // The epoch that the rank stands in has changed.
  void StandingChanged();

  // Health and heartbeats say so from now on.
  void SetDraining();
  // Says goodbye to the router, lets calls in flight end until the deadline, and cuts the rest.
  void Close(absl::Time deadline);

 private:
  void Refresh();

  const int ready_fd_;
  telemetry::Metrics metrics_{telemetry::Component::kWorker};
  const telemetry::Gauge group_epoch_gauge_{metrics_.Get(telemetry::GaugeId::kGroupEpoch)};
  std::string metrics_address_;
  std::string address_;
  std::string id_;
  std::atomic<uint64_t> registered_epoch_{0};
  std::function<uint64_t()> group_epoch_;

  std::mutex mutex_;  // guards the next ones, and orders changes of health
  bool registered_ = false;
  bool draining_ = false;
  bool closed_ = false;
  bool serving_ = false;
  bool said_ready_ = false;

  std::unique_ptr<rpc::Server> server_;
  std::unique_ptr<Registration> registration_;
};

}  // namespace tessera::worker

#endif  // TESSERA_WORKER_SERVICE_RANK_EDGE_H_
