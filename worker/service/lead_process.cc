#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/base/status_macros.h"
#include "worker/model/layer_split.h"
#include "worker/service/engine_rank.h"
#include "worker/service/group_session.h"
#include "worker/service/lead_steps.h"
#include "worker/service/worker_process.h"

namespace tessera::worker {
namespace {

constexpr absl::Duration kFlushTimeout = absl::Seconds(2);  // for the last events of cut calls

class LeadProcess final : public WorkerProcess {
 public:
  LeadProcess(model::ModelShard& shard, const config::WorkerSettings& settings, int ready_fd)
      : model_(group::GroupModel::Create(shard, ToStepOptions(settings))),
        rank_(ready_fd),
        steps_(*model_, rank_.peers()) {}

  ~LeadProcess() override {
    // The engine's thread may be in a step or wait for a group: that ends first.
    if (session_) session_->Leave();
    rank_.Close(absl::Now());
  }

  absl::Status Start(const config::ClusterConfig& config, const WorkerIdentity& identity,
                     const model::ShardSpec& shard) {
    TESSERA_ASSIGN_OR_RETURN(layers_,
                             model::SplitLayers(model_->config(), config.worker.group.stages));
    TESSERA_ASSIGN_OR_RETURN(const int64_t blocks,
                             GroupKvBlocks(config.worker, model_->config(), model_->kv_layout()));
    const model::KvLayout layout = model_->kv_layout();
    EngineRank::Parts parts;
    parts.options = ToEngineOptions(config.worker);
    // The engine counts blocks by the layers of this rank: as many as GroupKvBlocks says.
    parts.options.kv_cache_bytes =
        blocks * layout.num_layers * layout.BlockBytes(config.worker.kv_block_size_tokens);
    parts.options.step_group = &steps_;
    if (config.worker.group.stages > 1) {
      parts.can_hand_over = absl::UnimplementedError(
          "prefill groups with more than one stage cannot hand keys and values over");
    }
    parts.is_wake_due = [this, group = config.worker.group.name](std::string_view name,
                                                                 uint64_t epoch, uint64_t step) {
      return name == group && steps_.IsWakeDue(epoch, step);
    };
    parts.column = [this] { return Column(); };
    parts.group_counts = [this] {
      return GroupCounts{session_->epochs_entered(), steps_.broken_steps()};
    };
    TESSERA_RETURN_IF_ERROR(rank_.Serve(config, identity, *model_, std::move(parts)));
    if (const int64_t total = rank_.engine().Snapshot().kv_blocks_total; total != blocks) {
      return absl::InternalError(
          absl::StrCat("the engine has ", total, " KV blocks, its group counts on ", blocks));
    }
    session_ = std::make_unique<GroupSession>(
        *model_,
        ToSessionOptions(config.worker, identity, model_->config(), shard, rank_.edge().address(),
                         rank_.edge().id()),
        GroupSessionHooks{[this] { rank_.edge().StandingChanged(); },
                          [this] { rank_.engine().WakeForPeers(); }});
    steps_.SetSession(session_.get());
    RegistrationHooks hooks;
    hooks.group_epoch = [this] { return session_->standing_epoch(); };
    hooks.expert_imbalance = [this] { return steps_.expert_imbalance(); };
    rank_.Announce(config, identity, *model_, std::move(hooks));
    session_->Join();
    return absl::OkStatus();
  }

  void Drain(absl::Time deadline, const WaitForStop& wait_for_stop) override {
    rank_.edge().SetDraining();
    rank_.DrainEngine(deadline, wait_for_stop);
    session_->Leave();
    rank_.edge().Close(absl::Now() + kFlushTimeout);
  }

 private:
  std::vector<ColumnRank> Column() const {
    v1::GroupView view;
    group::GroupPlace place;
    if (session_ == nullptr || !session_->Standing(&view, &place)) return {};
    const std::vector<std::string> addresses = ColumnAddresses(view, place.column);
    std::vector<ColumnRank> column;
    for (size_t stage = 0; stage < addresses.size() && stage < layers_.size(); ++stage) {
      column.push_back({addresses[stage], layers_[stage].first, layers_[stage].num});
    }
    return column;
  }

  // In the order in which they depend on each other; the destructor ends what runs.
  const std::unique_ptr<group::GroupModel> model_;
  std::vector<model::LayerRange> layers_;  // of each stage
  std::unique_ptr<GroupSession> session_;
  EngineRank rank_;
  LeadSteps steps_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<WorkerProcess>> StartLead(const config::ClusterConfig& config,
                                                         const WorkerIdentity& identity,
                                                         model::ModelShard& shard, int ready_fd) {
  auto process = std::make_unique<LeadProcess>(shard, config.worker, ready_fd);
  TESSERA_RETURN_IF_ERROR(process->Start(config, identity, shard.spec()));
  return process;
}

}  // namespace tessera::worker
