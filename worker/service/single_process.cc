#include <utility>

#include "absl/time/clock.h"
#include "services/base/status_macros.h"
#include "worker/service/engine_rank.h"
#include "worker/service/worker_process.h"

namespace tessera::worker {
namespace {

constexpr absl::Duration kFlushTimeout = absl::Seconds(2);  // for the last events of cut calls

class SingleProcess final : public WorkerProcess {
 public:
  explicit SingleProcess(int ready_fd) : rank_(ready_fd) {}

  absl::Status Start(const config::ClusterConfig& config, const WorkerIdentity& identity,
                     model::VlModel& model) {
    EngineRank::Parts parts;
    parts.options = ToEngineOptions(config.worker);
    parts.column = [this, layers = model.config().language.num_hidden_layers] {
      return std::vector<ColumnRank>{{rank_.edge().address(), 0, layers}};
    };
    TESSERA_RETURN_IF_ERROR(rank_.Serve(config, identity, model, std::move(parts)));
    rank_.Announce(config, identity, model);
    return absl::OkStatus();
  }

  void Drain(absl::Time deadline, const WaitForStop& wait_for_stop) override {
    rank_.edge().SetDraining();
    rank_.DrainEngine(deadline, wait_for_stop);
    rank_.edge().Close(absl::Now() + kFlushTimeout);
  }

 private:
  EngineRank rank_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<WorkerProcess>> StartSingle(const config::ClusterConfig& config,
                                                           const WorkerIdentity& identity,
                                                           model::VlModel& model, int ready_fd) {
  auto process = std::make_unique<SingleProcess>(ready_fd);
  TESSERA_RETURN_IF_ERROR(process->Start(config, identity, model));
  return process;
}

}  // namespace tessera::worker
