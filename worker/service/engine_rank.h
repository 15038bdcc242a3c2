// What a single rank and a lead share: an engine and the service over it.
#ifndef TESSERA_WORKER_SERVICE_ENGINE_RANK_H_
#define TESSERA_WORKER_SERVICE_ENGINE_RANK_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "services/config/config.h"
#include "worker/engine/engine.h"
#include "worker/service/block_log.h"
#include "worker/service/engine_metrics.h"
#include "worker/service/peer_calls.h"
#include "worker/service/rank_edge.h"
#include "worker/service/worker_process.h"
#include "worker/service/worker_service.h"
#include "worker/service/worker_setup.h"

namespace tessera::worker {

class EngineRank {
 public:
  explicit EngineRank(int ready_fd) : edge_(ready_fd), engine_metrics_(edge_.metrics()) {}
  ~EngineRank() { Close(absl::Now()); }

  // What the kinds of rank differ in.
  struct Parts {
    engine::EngineOptions options;  // without the hooks
    absl::Status can_hand_over;
    std::function<std::vector<ColumnRank>()> column;  // as HandoffOptions
    std::function<GroupCounts()> group_counts;        // thread safe; may be empty
    std::function<bool(std::string_view group, uint64_t epoch, uint64_t step)> is_wake_due;
  };
  // Makes the engine and listens. model outlives it.
  absl::Status Serve(const config::ClusterConfig& config, const WorkerIdentity& identity,
                     model::VlModel& model, Parts parts);
  // Starts the engine's loop and registers. hooks: what a rank of a group adds.
  void Announce(const config::ClusterConfig& config, const WorkerIdentity& identity,
                model::VlModel& model, RegistrationHooks hooks = {});

  // Until the engine has nothing left, the deadline, or another request to stop.
  void DrainEngine(absl::Time deadline, const WaitForStop& wait_for_stop);
  // Ends calls, then the engine.
  void Close(absl::Time deadline);

  engine::Engine& engine() { return *engine_; }
  RankEdge& edge() { return edge_; }
  PeerCalls& peers() { return peers_; }

 private:
  RankEdge edge_;
  EngineMetrics engine_metrics_;
  BlockLog blocks_;
  PeerCalls peers_;
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<grpc::Service> service_;
};

}  // namespace tessera::worker

#endif  // TESSERA_WORKER_SERVICE_ENGINE_RANK_H_
