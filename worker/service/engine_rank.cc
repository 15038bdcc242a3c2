#include "worker/service/engine_rank.h"

#include <grpcpp/impl/codegen/service_type.h>

#include <future>
#include <utility>

#include "absl/time/clock.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"

namespace tessera::worker {
namespace {

constexpr absl::Duration kPollInterval = absl::Milliseconds(50);

}  // namespace

absl::Status EngineRank::Serve(const config::ClusterConfig& config, const WorkerIdentity& identity,
                               model::VlModel& model, Parts parts) {
  engine::EngineOptions options = std::move(parts.options);
  options.on_step =
      [this, counts = std::move(parts.group_counts)](const engine::EngineSnapshot& snapshot) {
        engine_metrics_.Update(snapshot, counts ? counts() : GroupCounts{});
      };
  options.on_block = [this](const Digest& hash, bool findable) { blocks_.Add(hash, findable); };
  TESSERA_ASSIGN_OR_RETURN(engine_, engine::Engine::Create(model, options));
  HandoffOptions handoff;
  handoff.terms = TermsOf(identity, model.config(), model.kv_layout());
  handoff.block_size_tokens = config.worker.kv_block_size_tokens;
  handoff.lease = config.worker.kv_lease;
  handoff.column = std::move(parts.column);
  handoff.can_hand_over = std::move(parts.can_hand_over);
  WorkerServiceOptions service;
  service.model_revision = identity.model_revision;
  service.epoch = [this] { return edge_.registered_epoch(); };
  service.is_wake_due = std::move(parts.is_wake_due);
  service.handoff = std::move(handoff);
  service_ = MakeWorkerService(*engine_, peers_, std::move(service));
  return edge_.Listen(config.worker, *service_);
}

void EngineRank::Announce(const config::ClusterConfig& config, const WorkerIdentity& identity,
                          model::VlModel& model, RegistrationHooks hooks) {
  engine_->Start();
  hooks.load = [this] { return engine_->Snapshot(); };
  hooks.blocks = &blocks_;
  edge_.Announce(config.worker.router_address, Describe(config.worker, identity, model.config()),
                 std::move(hooks));
}

void EngineRank::DrainEngine(absl::Time deadline, const WaitForStop& wait_for_stop) {
  auto drained =
      std::async(std::launch::async, [this, deadline] { return engine_->Drain(deadline); });
  bool cut = false;
  while (drained.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    if (!cut && wait_for_stop(kPollInterval)) {
      TESSERA_LOG(kWarning) << "a second signal: requests in flight are cancelled";
      cut = true;
      engine_->Drain(absl::InfinitePast()).IgnoreError();
    } else if (cut) {
      drained.wait_for(absl::ToChronoMilliseconds(kPollInterval));
    }
  }
  if (const absl::Status status = drained.get(); !status.ok()) {
    TESSERA_LOG(kWarning) << status.ToString();
  }
}

void EngineRank::Close(absl::Time deadline) {
  edge_.Close(deadline);
  service_.reset();
  engine_.reset();
}

}  // namespace tessera::worker
