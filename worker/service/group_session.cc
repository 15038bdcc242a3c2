#include "worker/service/group_session.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"
#include "worker/service/stage_rendezvous.h"

namespace tessera::worker {
namespace {

// How often a router that says nothing new is told that the epoch is broken.
constexpr absl::Duration kReportInterval = absl::Seconds(1);

}  // namespace

GroupSession::GroupSession(group::GroupRank& rank, GroupSessionOptions options,
                           GroupSessionHooks hooks)
    : rank_(rank),
      options_(std::move(options)),
      hooks_(std::move(hooks)),
      self_{options_.self.worker_id(), options_.self.started_at_ms()} {}

GroupSession::~GroupSession() { Leave(); }

void GroupSession::Join() {
  // The first view may come, and be entered, before this returns: it waits for the membership.
  std::lock_guard lock(mutex_);
  membership_ = std::make_unique<GroupMembership>(
      options_.router_address, options_.self, [this](const v1::GroupView& view) { OnView(view); });
}

void GroupSession::Leave() {
  {
    std::lock_guard lock(mutex_);
    leaving_ = true;
    standing_ = 0;
    if (forming_ != nullptr) forming_->Abort();
  }
  rank_.Abort();
  changed_.notify_all();
  if (membership_) membership_->Leave();
}

void GroupSession::OnView(const v1::GroupView& view) {
  {
    std::lock_guard lock(mutex_);
    if (leaving_ || (latest_serial_ > 0 && SameEpoch(view, latest_))) return;
    latest_ = view;
    ++latest_serial_;
    standing_ = 0;
    if (forming_ != nullptr) forming_->Abort();
  }
  rank_.Abort();
  changed_.notify_all();
  if (hooks_.on_standing) hooks_.on_standing();
  if (hooks_.wake) hooks_.wake();
}

bool GroupSession::leaving() const {
  std::lock_guard lock(mutex_);
  return leaving_;
}

uint64_t GroupSession::standing_epoch() const {
  std::lock_guard lock(mutex_);
  return standing_;
}

uint64_t GroupSession::epochs_entered() const {
  std::lock_guard lock(mutex_);
  return epochs_entered_;
}

bool GroupSession::Standing(v1::GroupView* view, group::GroupPlace* place) const {
  std::lock_guard lock(mutex_);
  if (standing_ == 0) return false;
  *view = entered_;
  *place = place_;
  return true;
}

bool GroupSession::StandingPlacement(group::ExpertPlacement* placement, int32_t* column,
                                     int64_t* columns) const {
  v1::GroupView view;
  group::GroupPlace place;
  if (!Standing(&view, &place)) return false;
  auto found = PlacementOf(view, options_.first_layer, options_.experts_of_layer);
  if (!found.ok()) return false;
  *placement = *std::move(found);
  *column = static_cast<int32_t>(place.column);
  *columns = view.columns();
  return true;
}

bool GroupSession::HasNews() const {
  std::lock_guard lock(mutex_);
  return latest_serial_ > seen_serial_ && latest_.epoch() > 0;
}

bool GroupSession::WaitForNews(absl::Duration timeout) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, absl::ToChronoNanoseconds(timeout), [this] {
    return leaving_ || (latest_serial_ > seen_serial_ && latest_.epoch() > 0);
  });
}

bool GroupSession::LeadIsThere() const {
  std::lock_guard lock(mutex_);
  if (entered_.epoch() == 0 || latest_.epoch() == 0) return false;
  const auto place = PlaceOf(latest_, self_);
  return place.ok() && place->has_value() &&
         ColumnOf(latest_, (*place)->column).front() == ColumnOf(entered_, place_.column).front();
}

void GroupSession::SetStanding(uint64_t epoch) {
  {
    std::lock_guard lock(mutex_);
    if (leaving_ || standing_ == epoch) return;
    standing_ = epoch;
  }
  if (hooks_.on_standing) hooks_.on_standing();
}

GroupSession::Next GroupSession::NextView(absl::Time deadline, v1::GroupView* view) {
  for (bool first = true;; first = false) {
    uint64_t broken = 0;
    {
      std::unique_lock lock(mutex_);
      const auto news = [this] {
        return leaving_ || (latest_serial_ > seen_serial_ && latest_.epoch() > 0);
      };
      const absl::Duration wait =
          first ? absl::ZeroDuration()
                : std::clamp(deadline - absl::Now(), absl::ZeroDuration(), kReportInterval);
      if (changed_.wait_for(lock, absl::ToChronoNanoseconds(wait), news)) {
        if (leaving_) return Next::kLeaving;
        seen_serial_ = latest_serial_;
        *view = latest_;
        return Next::kView;
      }
      broken = EpochToReport();
    }
    if (broken > 0 && membership_) membership_->ReportSuspect(broken);
    if (absl::Now() >= deadline) return Next::kTimeUp;
  }
}

uint64_t GroupSession::EpochToReport() {
  // After a newer view, be it without an epoch, the router knows more than this rank.
  if (latest_serial_ != seen_serial_ || member_of_ != latest_.epoch()) return 0;
  const absl::Time now = absl::Now();
  if (reported_ == member_of_ && now - reported_at_ < kReportInterval) return 0;
  reported_ = member_of_;
  reported_at_ = now;
  return member_of_;
}

engine::Reformed GroupSession::Reform(absl::Time deadline) {
  SetStanding(0);
  rank_.Abort();
  for (;;) {
    v1::GroupView view;
    switch (NextView(deadline, &view)) {
      case Next::kLeaving:
        return engine::Reformed::kNotMember;
      case Next::kTimeUp:
        return engine::Reformed::kNotYet;
      case Next::kView:
        break;
    }
    const absl::StatusOr<std::optional<group::GroupPlace>> place = PlaceOf(view, self_);
    if (place.ok() && !place->has_value()) {
      TESSERA_LOG(kWarning) << "epoch " << view.epoch() << " of group " << view.group()
                            << " stands without this rank";
      return engine::Reformed::kNotMember;
    }
    {
      std::lock_guard lock(mutex_);
      member_of_ = view.epoch();
    }
    const absl::Time start = absl::Now();
    absl::Status status = place.status();
    if (status.ok()) status = Enter(view, **place);
    if (status.ok()) {
      TESSERA_LOG(kInfo) << "entered epoch " << view.epoch() << " of group " << view.group()
                         << " as stage " << (*place)->stage << ", column " << (*place)->column
                         << " of " << view.columns() << ", in "
                         << absl::FormatDuration(
                                absl::Trunc(absl::Now() - start, absl::Milliseconds(1)));
      return Compare(view, **place);
    }
    TESSERA_LOG(kWarning) << "could not enter epoch " << view.epoch() << " of group "
                          << view.group() << ": " << status.ToString();
  }
}

absl::StatusOr<std::unique_ptr<transport::Communicator>> GroupSession::Connect(
    const transport::ConnectOptions& options) {
  TESSERA_ASSIGN_OR_RETURN(std::unique_ptr<transport::Communicator> communicator,
                           options_.connect(options_.self.transport(), options));
  return communicator;
}

absl::Status GroupSession::Enter(const v1::GroupView& view, const group::GroupPlace& place) {
  group::GroupEpoch epoch;
  epoch.number = view.epoch();
  epoch.shape = {view.stages(), view.columns()};
  epoch.place = place;
  TESSERA_ASSIGN_OR_RETURN(epoch.placement,
                           PlacementOf(view, options_.first_layer, options_.experts_of_layer));
  transport::ConnectOptions connect;
  connect.deadline = absl::Now() + options_.connect_timeout;
  connect.bind_host = options_.bind_host;
  if (view.members_size() > 1) {
    connect.rank = static_cast<int>(place.stage * view.columns() + place.column);
    connect.size = view.members_size();
    connect.round = "all";
    connect.rendezvous = membership_->RendezvousOf(view.epoch(), connect.rank);
    TESSERA_ASSIGN_OR_RETURN(epoch.all, Connect(connect));
  }
  if (view.columns() > 1) {
    {
      std::lock_guard lock(mutex_);
      if (leaving_ || latest_serial_ != seen_serial_) return absl::AbortedError("a newer view");
      forming_ = epoch.all.get();
    }
    connect.rank = static_cast<int>(place.column);
    connect.size = view.columns();
    connect.round = absl::StrCat("stage-", place.stage);
    connect.rendezvous = StageRendezvous(*epoch.all, epoch.shape, place);
    auto stage = Connect(connect);
    {
      std::lock_guard lock(mutex_);
      forming_ = nullptr;
    }
    TESSERA_RETURN_IF_ERROR(stage.status());
    epoch.stage = *std::move(stage);
  }
  TESSERA_RETURN_IF_ERROR(rank_.Enter(std::move(epoch)));
  {
    std::lock_guard lock(mutex_);
    if (!leaving_ && latest_serial_ == seen_serial_) return absl::OkStatus();
  }
  // OnView may have aborted what was before.
  rank_.Abort();
  return absl::AbortedError("a newer view");
}

engine::Reformed GroupSession::Compare(const v1::GroupView& view, const group::GroupPlace& place) {
  bool same = true;
  bool current = false;
  {
    std::lock_guard lock(mutex_);
    same =
        entered_.epoch() == 0 || ColumnOf(entered_, place_.column) == ColumnOf(view, place.column);
    entered_ = view;
    place_ = place;
    ++epochs_entered_;
    current = !leaving_ && latest_serial_ == seen_serial_;
    if (current) standing_ = view.epoch();
  }
  if (current && hooks_.on_standing) hooks_.on_standing();
  return same ? engine::Reformed::kSameKv : engine::Reformed::kLostKv;
}

}  // namespace tessera::worker
