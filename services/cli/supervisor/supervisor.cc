#include "services/cli/supervisor/supervisor.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/base/check.h"
#include "services/base/log.h"

namespace tessera::supervisor {
namespace {

constexpr absl::Duration kExitAfterKill = absl::Seconds(10);

}  // namespace

Supervisor::Supervisor(SupervisorOptions options, std::vector<MemberSpec> members)
    : options_(std::move(options)), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  TESSERA_CHECK(wake_.valid()) << "no descriptor left";
  for (MemberSpec& spec : members) {
    members_.push_back(std::make_unique<Member>(std::move(spec), options_.backoff));
  }
}

Supervisor::~Supervisor() {
  if (thread_.joinable()) {
    RequestKill();
    thread_.join();
  }
}

void Supervisor::Start() {
  TESSERA_CHECK(!thread_.joinable()) << "started twice";
  thread_ = std::thread([this] { Loop(); });
}

void Supervisor::RequestStop() {
  int none = static_cast<int>(Request::kNone);
  request_.compare_exchange_strong(none, static_cast<int>(Request::kStop));
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_.get(), &one, sizeof(one));
}

void Supervisor::RequestKill() {
  request_.store(static_cast<int>(Request::kKill));
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_.get(), &one, sizeof(one));
}

absl::Status Supervisor::WaitUntilServing() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return all_served_ || ended_; });
  if (all_served_) {
    return absl::OkStatus();
  }
  return outcome_.ok() ? absl::CancelledError("stopped before it was ready") : outcome_;
}

absl::Status Supervisor::WaitUntilEnded() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return ended_; });
  return outcome_;
}

std::optional<absl::Status> Supervisor::WaitUntilEndedFor(absl::Duration timeout) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (!changed_.wait_for(lock, absl::ToChronoMilliseconds(timeout), [this] { return ended_; })) {
    return std::nullopt;
  }
  return outcome_;
}

Addresses Supervisor::addresses() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return addresses_;
}

std::map<std::string, pid_t> Supervisor::pids() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return pids_;
}

void Supervisor::Loop() {
  while (true) {
    ObeyRequests();
    if (!stopping_ && !killing_) {
      StartWaiting();
    }
    if (stopping_) {
      AdvanceStop();
    }
    if ((stopping_ || killing_) && AllEnded()) {
      break;
    }
    WaitForEvents();
    for (const auto& member : members_) {
      ReadLines(*member);
      CheckExit(*member);
      CheckDeadline(*member, absl::Now());
    }
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

void Supervisor::WaitForEvents() {
  std::vector<pollfd> watched = {{wake_.get(), POLLIN, 0}};
  absl::Time deadline = absl::InfiniteFuture();
  for (const auto& member : members_) {
    deadline = std::min(deadline, member->deadline);
    if (member->child.has_value()) {
      watched.push_back({member->child->exit_poll_fd(), POLLIN, 0});
      if (member->child->ready_poll_fd() >= 0) {
        watched.push_back({member->child->ready_poll_fd(), POLLIN, 0});
      }
    }
  }
  int timeout_ms = -1;
  if (deadline != absl::InfiniteFuture()) {
    const int64_t left = absl::ToInt64Milliseconds(deadline - absl::Now()) + 1;
    timeout_ms = static_cast<int>(std::clamp<int64_t>(left, 0, 60'000));
  }
  poll(watched.data(), watched.size(), timeout_ms);  // EINTR is one more turn of the loop
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(wake_.get(), &count, sizeof(count));
}

void Supervisor::ObeyRequests() {
  const auto request = static_cast<Request>(request_.load());
  if (request == Request::kKill && !killing_) {
    Complain(absl::CancelledError("killed on request"));
    KillAll();
  } else if (request == Request::kStop && !stopping_ && !killing_) {
    stopping_ = true;
    stop_stage_ = -1;
  }
}

// The members of a stage start when all members of lower stages serve.
void Supervisor::StartWaiting() {
  int open_stage =
      std::numeric_limits<int>::max();  // the lowest stage with a member that never served
  for (const auto& member : members_) {
    if (!member->ever_served) {
      open_stage = std::min(open_stage, member->spec.start_stage);
    }
  }
  for (const auto& member : members_) {
    if (member->state == State::kWaiting && member->spec.start_stage <= open_stage && !killing_) {
      StartMember(*member);
    }
  }
}

void Supervisor::StartMember(Member& member) {
  ChildOptions child_options;
  child_options.name = member.spec.name;
  child_options.program = options_.program;
  child_options.shown_as = options_.shown_as;
  child_options.arguments = member.spec.arguments(addresses());
  child_options.stdout_fd = options_.stdout_fd;
  child_options.stderr_fd = options_.stderr_fd;
  absl::StatusOr<ChildProcess> child = ChildProcess::Start(child_options);
  if (!child.ok()) {
    if (!member.ever_served) {
      FailStart(member, child.status());
    } else {
      BackOff(member, std::string(child.status().message()));
    }
    return;
  }
  member.child = *std::move(child);
  member.state = State::kStarting;
  member.kill_sent = false;
  member.reported = absl::OkStatus();
  member.deadline = absl::Now() + options_.start_timeout;
  const std::lock_guard<std::mutex> lock(mutex_);
  pids_[member.spec.name] = member.child->pid();
}

void Supervisor::ReadLines(Member& member) {
  if (!member.child.has_value()) {
    return;
  }
  for (const std::string& text : member.child->ReadReadyLines()) {
    const absl::StatusOr<ReadyLine> line = ParseReadyLine(text);
    if (!line.ok()) {
      TESSERA_LOG(kWarning) << member.spec.name << " wrote a line that is "
                            << line.status().message();
    } else if (const auto* loading = std::get_if<LoadingLine>(&*line)) {
      if (options_.on_loading) {
        options_.on_loading(member.spec.name, loading->loaded_bytes, loading->total_bytes);
      }
    } else if (const auto* failed = std::get_if<FailedLine>(&*line)) {
      member.reported = failed->status;
    } else if (member.state == State::kStarting) {
      if (member.ever_served) {
        TESSERA_LOG(kInfo) << member.spec.name << " serves again";
      }
      member.state = State::kServing;
      member.ever_served = true;
      member.serving_since = absl::Now();
      member.deadline = absl::InfiniteFuture();
      const std::lock_guard<std::mutex> lock(mutex_);
      addresses_[member.spec.name] = std::get<ServingLine>(*line).address;
      all_served_ = std::all_of(members_.begin(), members_.end(),
                                [](const auto& each) { return each->ever_served; });
      changed_.notify_all();
    }
  }
}

void Supervisor::CheckExit(Member& member) {
  if (!member.child.has_value()) {
    return;
  }
  const std::optional<ExitStatus> exit = member.child->TryReap();
  if (!exit.has_value()) {
    return;
  }
  ReadLines(member);  // its last words
  member.child.reset();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    pids_.erase(member.spec.name);
  }
  MemberEnded(member, *exit);
}

void Supervisor::MemberEnded(Member& member, const ExitStatus& exit) {
  const std::string& name = member.spec.name;
  member.deadline = absl::InfiniteFuture();
  if (stopping_ || killing_) {
    if (!exit.ok() && !member.kill_sent) {
      Complain(absl::InternalError(
          absl::StrCat(name, " ended with ", exit.Describe(), " while stopping")));
    }
    member.state = State::kEnded;
    return;
  }
  std::string what = absl::StrCat(name, " ended with ", exit.Describe());
  if (!member.reported.ok()) {
    absl::StrAppend(&what, ": ", member.reported.message());
  }
  if (!member.ever_served) {
    member.state = State::kEnded;
    FailStart(member, !member.reported.ok()
                          ? member.reported
                          : absl::UnavailableError(absl::StrCat("ended with ", exit.Describe(),
                                                                " before it was ready")));
    return;
  }
  BackOff(member, what);
}

void Supervisor::BackOff(Member& member, const std::string& what) {
  const bool served = member.state == State::kServing;
  const absl::Time now = absl::Now();
  const absl::Duration delay =
      member.backoff.NextDelay(served ? now - member.serving_since : absl::ZeroDuration());
  TESSERA_LOG(kWarning) << what << "; starting it again in " << absl::FormatDuration(delay);
  member.state = State::kBackingOff;
  member.deadline = now + delay;
}

void Supervisor::CheckDeadline(Member& member, absl::Time now) {
  if (now < member.deadline) {
    return;
  }
  member.deadline = absl::InfiniteFuture();
  switch (member.state) {
    case State::kBackingOff:
      member.state = State::kWaiting;
      break;
    case State::kStarting:
      member.reported = absl::DeadlineExceededError(
          absl::StrCat("not ready within ", absl::FormatDuration(options_.start_timeout)));
      member.child->Signal(SIGKILL);
      break;
    case State::kStopping:
      Complain(absl::DeadlineExceededError(
          absl::StrCat(member.spec.name, " did not end within ",
                       absl::FormatDuration(member.spec.drain_timeout), " and was killed")));
      member.kill_sent = true;
      member.child->Signal(SIGKILL);
      break;
    case State::kWaiting:
    case State::kServing:
    case State::kEnded:
      break;
  }
}

void Supervisor::FailStart(const Member& member, const absl::Status& status) {
  Complain(absl::Status(status.code(), absl::StrCat(member.spec.name, ": ", status.message())));
  KillAll();
}

void Supervisor::AdvanceStop() {
  constexpr int kDone = 1'000'000;
  int lowest = kDone;  // stop stage of the members that still run
  for (const auto& member : members_) {
    if (!member->child.has_value()) {
      member->state = State::kEnded;
      member->deadline = absl::InfiniteFuture();
    } else {
      lowest = std::min(lowest, member->spec.stop_stage);
    }
  }
  if (lowest == kDone || lowest == stop_stage_) {
    return;
  }
  stop_stage_ = lowest;
  for (const auto& member : members_) {
    if (member->child.has_value() && member->spec.stop_stage == stop_stage_) {
      // One that never served has nothing to drain, and may not listen to signals yet.
      const bool drains = member->state == State::kServing;
      member->state = State::kStopping;
      member->kill_sent = !drains;
      member->deadline = absl::Now() + (drains ? member->spec.drain_timeout : kExitAfterKill);
      member->child->Signal(drains ? SIGTERM : SIGKILL);
    }
  }
}

void Supervisor::KillAll() {
  killing_ = true;
  stopping_ = false;
  for (const auto& member : members_) {
    member->deadline = absl::InfiniteFuture();
    if (member->child.has_value()) {
      member->kill_sent = true;
      member->child->Signal(SIGKILL);
    } else {
      member->state = State::kEnded;
    }
  }
}

bool Supervisor::AllEnded() const {
  return std::all_of(members_.begin(), members_.end(),
                     [](const auto& member) { return !member->child.has_value(); });
}

void Supervisor::Complain(const absl::Status& status) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (outcome_.ok()) {
    outcome_ = status;
  }
}

}  // namespace tessera::supervisor
