#include "worker/engine/group_steps.h"

#include "absl/strings/str_cat.h"
#include "services/base/log.h"

namespace tessera::engine {
namespace {

// How long a wait for the group keeps cancelled and expired requests, new ones and a stop waiting.
constexpr absl::Duration kSlice = absl::Milliseconds(100);

}  // namespace

bool GroupSteps::Advance(bool woken) {
  if (state_ != State::kStanding) return AwaitGroup();
  Accept(group_.BetweenSteps());
  if (state_ != State::kStanding) return true;
  const bool has_rows = loop_.Prepare();
  if (!has_rows && !woken && !peers_step_) return loop_.ended_some();
  if (has_rows && !peers_step_) group_.WakePeers();
  switch (loop_.Compute()) {
    case ForwardOutcome::kGroupBroken:
      Break();
      break;
    case ForwardOutcome::kFailed:
      peers_step_ = has_rows;  // whatever failed, the peers saw these rows
      break;
    case ForwardOutcome::kDone:
      peers_step_ = group_.AnyRankHadRows();
      break;
  }
  return has_rows || loop_.ended_some();
}

void GroupSteps::Break() {
  state_ = State::kBroken;
  broken_since_ = clock_.Now();
}

void GroupSteps::Accept(Reformed reformed) {
  switch (reformed) {
    case Reformed::kSameKv:
      state_ = State::kStanding;
      break;
    case Reformed::kLostKv:
      TESSERA_LOG(kWarning) << "K and V were lost with a rank of the group";
      loop_.ForgetKv();
      state_ = State::kStanding;
      break;
    case Reformed::kNotMember:
      loop_.FinishAll(FinishReason::kError,
                      absl::UnavailableError("this rank is not in its group's epoch"));
      loop_.LoseLeases();
      state_ = State::kOutside;
      break;
    case Reformed::kNotYet:
      if (state_ == State::kStanding) Break();
      break;
  }
}

bool GroupSteps::AwaitGroup() {
  loop_.Sweep(false);
  const Reformed reformed = group_.AwaitReform(clock_.Now() + kSlice);
  if (reformed != Reformed::kNotYet) {
    Accept(reformed);
    if (state_ == State::kStanding) {
      loop_.RestartProgress();
      // All that are in the new epoch step now, with rows or without.
      peers_step_ = true;
    }
    return true;
  }
  if (state_ == State::kOutside) {
    Accept(Reformed::kNotMember);  // requests that came meanwhile
  } else if (clock_.Now() - broken_since_ >= timeout_) {
    loop_.FinishAll(FinishReason::kError,
                    absl::UnavailableError(absl::StrCat("the group has not re-formed within ",
                                                        absl::FormatDuration(timeout_))));
    broken_since_ = clock_.Now();  // those that come later have as long
  }
  return true;
}

}  // namespace tessera::engine
