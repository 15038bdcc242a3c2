#include "worker/service/lead_steps.h"

#include <utility>

#include "absl/time/clock.h"
#include "worker/service/expert_balance.h"

namespace tessera::worker {
namespace {

constexpr absl::Duration kCountingInterval = absl::Seconds(1);

}  // namespace

void LeadSteps::WakePeers() {
  v1::GroupView view;
  group::GroupPlace place;
  if (!session_.load()->Standing(&view, &place)) return;
  for (const std::string& address : OtherLeads(view, place.column)) {
    peers_.Wake(address, view.group(), view.epoch(), model_.steps_of_epoch());
  }
}

engine::Reformed LeadSteps::AwaitReform(absl::Time deadline) {
  if (!std::exchange(broken_, true)) ++broken_steps_;
  const engine::Reformed result = session_.load()->Reform(deadline);
  if (result != engine::Reformed::kNotYet) broken_ = false;
  return result;
}

engine::Reformed LeadSteps::BetweenSteps() {
  if (!session_.load()->HasNews()) {
    CountExperts();
    return engine::Reformed::kSameKv;
  }
  // Peers that take part in the new epoch's first step must find this rank there too, so that it is
  // entered as after a break.
  broken_ = true;
  return engine::Reformed::kNotYet;
}

bool LeadSteps::IsWakeDue(uint64_t epoch, uint64_t step) const {
  const GroupSession* session = session_;  // set after calls may come
  return session != nullptr && epoch == session->standing_epoch() &&
         step >= model_.steps_of_epoch();
}

void LeadSteps::CountExperts() {
  const absl::Time now = absl::Now();
  if (now - counting_since_ < kCountingInterval) return;
  counting_since_ = now;
  group::ExpertPlacement placement;
  int32_t column = 0;
  int64_t columns = 0;
  const group::ExpertCounts counts = model_.TakeExpertCounts();
  if (!session_.load()->StandingPlacement(&placement, &column, &columns)) return;
  expert_imbalance_ = ExpertImbalance(counts, placement, column, columns);
}

}  // namespace tessera::worker
