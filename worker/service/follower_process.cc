#include <grpcpp/impl/codegen/service_type.h>

#include <utility>

#include "absl/time/clock.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"
#include "worker/service/follower_loop.h"
#include "worker/service/follower_service.h"
#include "worker/service/group_session.h"
#include "worker/service/rank_edge.h"
#include "worker/service/worker_process.h"

namespace tessera::worker {
namespace {

constexpr absl::Duration kPollInterval = absl::Milliseconds(50);

class FollowerProcess final : public WorkerProcess {
 public:
  explicit FollowerProcess(int ready_fd) : edge_(ready_fd) {}
  ~FollowerProcess() override {
    if (session_) session_->Leave();
    loop_.reset();
    edge_.Close(absl::Now());
  }

  absl::Status Start(const config::ClusterConfig& config, const WorkerIdentity& identity,
                     model::ModelShard& shard) {
    TESSERA_ASSIGN_OR_RETURN(const int64_t blocks,
                             GroupKvBlocks(config.worker, shard.config(), shard.kv_layout()));
    TESSERA_ASSIGN_OR_RETURN(
        follower_, group::GroupFollower::Create(shard, blocks, config.worker.kv_block_size_tokens,
                                                ToStepOptions(config.worker)));
    service_ = MakeFollowerService(*follower_, shard.spec().first_layer);
    TESSERA_RETURN_IF_ERROR(edge_.Listen(config.worker, *service_));
    session_ = std::make_unique<GroupSession>(
        *follower_,
        ToSessionOptions(config.worker, identity, shard.config(), shard.spec(), edge_.address(),
                         edge_.id()),
        GroupSessionHooks{[this] { edge_.StandingChanged(); }, nullptr});
    RegistrationHooks hooks;
    hooks.load = [blocks] {
      engine::EngineSnapshot snapshot;  // the requests are its lead's
      snapshot.kv_blocks_total = blocks;
      return snapshot;
    };
    hooks.group_epoch = [this] { return session_->standing_epoch(); };
    edge_.Announce(config.worker.router_address, Describe(config.worker, identity, shard.config()),
                   std::move(hooks));
    session_->Join();
    loop_ = std::make_unique<FollowerLoop>(*follower_, *session_);
    return absl::OkStatus();
  }

  void Drain(absl::Time deadline, const WaitForStop& wait_for_stop) override {
    edge_.SetDraining();
    // Its lead's requests need it.
    while (session_->LeadIsThere() && absl::Now() < deadline) {
      if (wait_for_stop(kPollInterval)) {
        TESSERA_LOG(kWarning) << "a second signal: leaving the group at once";
        break;
      }
    }
    session_->Leave();
    edge_.Close(absl::Now());
  }

 private:
  // In the order in which they depend on each other; the destructor ends what runs.
  std::unique_ptr<group::GroupFollower> follower_;
  std::unique_ptr<grpc::Service> service_;
  std::unique_ptr<GroupSession> session_;
  RankEdge edge_;
  std::unique_ptr<FollowerLoop> loop_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<WorkerProcess>> StartFollower(const config::ClusterConfig& config,
                                                             const WorkerIdentity& identity,
                                                             model::ModelShard& shard,
                                                             int ready_fd) {
  auto process = std::make_unique<FollowerProcess>(ready_fd);
  TESSERA_RETURN_IF_ERROR(process->Start(config, identity, shard));
  return process;
}

}  // namespace tessera::worker
