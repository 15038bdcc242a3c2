#include "worker/engine/engine.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "services/base/check.h"
#include "services/base/status_macros.h"
#include "worker/engine/group_steps.h"
#include "worker/engine/request_check.h"
#include "worker/engine/step_loop.h"

namespace tessera::engine {
namespace {

// A rank that its group stands without asks so often whether it may come back.
constexpr std::chrono::milliseconds kBetweenTries{100};

// std::mutex rather than absl::Mutex: ThreadSanitizer sees into it although the system's Abseil is
// not instrumented.
class ThreadedEngine final : public Engine {
 public:
  ThreadedEngine(model::VlModel& model, const EngineOptions& options, int64_t num_blocks,
                 const Clock& clock)
      : model_(model),
        options_(options),
        num_blocks_(num_blocks),
        clock_(clock),
        loop_(model, options, num_blocks, clock, [this](const RequestId& id) { ForgetId(id); }),
        snapshot_(loop_.Snapshot()) {
    if (options.step_group != nullptr) {
      group_.emplace(loop_, *options.step_group, options.no_progress_timeout, clock);
    }
  }

  ~ThreadedEngine() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    if (thread_.joinable()) thread_.join();
    TakeInbox();
    loop_.FinishAll(FinishReason::kCancelled, absl::CancelledError("the engine has stopped"));
    Publish();
  }

  absl::Status Submit(GenerationRequest request, std::unique_ptr<EventSink> sink) override {
    TESSERA_CHECK(sink != nullptr);
    TESSERA_RETURN_IF_ERROR(
        CheckRequest(request, model_, num_blocks_, options_.kv_block_size_tokens));
    {
      std::lock_guard lock(mutex_);
      TESSERA_RETURN_IF_ERROR(CheckOpen());
      if (ids_.contains(request.id)) {
        return absl::AlreadyExistsError("request_id is in use on this worker");
      }
      std::optional<TakenLease> taken;
      if (request.kv_lease.empty()) {
        TESSERA_RETURN_IF_ERROR(CheckQueue());
      } else {
        // It was in the queue before, for its lease.
        TESSERA_ASSIGN_OR_RETURN(taken, loop_.leases().Claim(request));
      }
      ids_.insert(request.id);
      ++num_open_;
      inbox_outstanding_tokens_ += request.num_prompt_tokens + request.sampling.max_tokens;
      inbox_.requests.push_back({std::move(request), std::move(sink), std::move(taken)});
    }
    wake_.notify_one();
    return absl::OkStatus();
  }

  void LeaseBlocks(std::string id, GenerationRequest prompt, absl::Duration lease,
                   LeaseCallback granted) override {
    TESSERA_CHECK(granted != nullptr);
    absl::Status status =
        CheckLeaseRequest(id, prompt, lease, model_, num_blocks_, options_.kv_block_size_tokens);
    if (status.ok()) {
      std::lock_guard lock(mutex_);
      status = CheckOpen();
      if (status.ok()) status = CheckQueue();
      if (status.ok()) {
        inbox_.leases.emplace_back(std::move(prompt),
                                   LeaseRequest{std::move(id), lease, std::move(granted)});
      }
    }
    if (status.ok()) {
      wake_.notify_one();
    } else {
      granted(status);
    }
  }

  absl::Status WriteRows(const std::string& lease_id, int64_t layer, int64_t first_position,
                         absl::Span<const std::byte> rows) override {
    return loop_.leases().WriteRows(lease_id, layer, first_position, rows);
  }

  void ReleaseLease(const std::string& lease_id) override {
    {
      std::lock_guard lock(mutex_);
      inbox_.releases.insert(lease_id);
    }
    wake_.notify_one();
  }

  void WakeForPeers() override {
    {
      std::lock_guard lock(mutex_);
      inbox_.peers_call = true;
    }
    wake_.notify_one();
  }

  void Cancel(const RequestId& id) override {
    {
      std::lock_guard lock(mutex_);
      if (!ids_.contains(id)) return;
      inbox_.cancels.insert(id);
    }
    wake_.notify_one();
  }

  EngineSnapshot Snapshot() const override {
    std::lock_guard lock(mutex_);
    EngineSnapshot snapshot = snapshot_;
    snapshot.queued_requests += inbox_.num_queued();
    snapshot.outstanding_tokens += inbox_outstanding_tokens_;
    return snapshot;
  }

  absl::Status Drain(absl::Time deadline) override {
    std::unique_lock lock(mutex_);
    draining_ = true;
    // A wait by duration: the clock may be a test's.
    const absl::Duration patience =
        std::clamp(deadline - clock_.Now(), absl::ZeroDuration(), absl::Hours(24 * 365));
    if (idle_.wait_for(lock, absl::ToChronoNanoseconds(patience),
                       [this] { return num_open_ == 0; })) {
      return absl::OkStatus();
    }
    const int64_t cut = num_open_;
    inbox_.cancels = ids_;
    lock.unlock();
    wake_.notify_one();
    return absl::DeadlineExceededError(
        absl::StrCat(cut, " requests had not ended when draining timed out; they are cancelled"));
  }

  bool StepForTest() override {
    TESSERA_CHECK(!thread_.joinable()) << "the loop's thread is running";
    return RunOnce();
  }

  void Start() override {
    TESSERA_CHECK(!thread_.joinable()) << "Start was called before";
    thread_ = std::thread([this] {
      bool worked = true;
      while (WaitForReason(worked)) worked = RunOnce();
    });
  }

 private:
  struct Submission {
    GenerationRequest request;
    std::unique_ptr<EventSink> sink;
    std::optional<TakenLease> taken;
  };

  // What has arrived for the loop. Requests and leases are bounded with the loop's queue by
  // max_queued_requests, the rest by what is open.
  struct Inbox {
    std::vector<Submission> requests;
    std::vector<std::pair<GenerationRequest, LeaseRequest>> leases;
    absl::flat_hash_set<std::string> releases;  // of leases
    absl::flat_hash_set<RequestId> cancels;     // of ids_
    bool peers_call = false;

    bool empty() const {
      return requests.empty() && leases.empty() && releases.empty() && cancels.empty() &&
             !peers_call;
    }
    int64_t num_queued() const { return static_cast<int64_t>(requests.size() + leases.size()); }
  };

  absl::Status CheckOpen() const {
    if (stopping_ || draining_) return absl::UnavailableError("the worker is draining");
    return absl::OkStatus();
  }

  absl::Status CheckQueue() const {
    const int64_t queued = inbox_.num_queued() + snapshot_.queued_requests;
    if (queued < options_.max_queued_requests) return absl::OkStatus();
    absl::Status status = absl::ResourceExhaustedError(
        absl::StrCat("the queue is full: ", queued, " requests are waiting, the bound is ",
                     options_.max_queued_requests));
    status.SetPayload(kQueueFullPayload, absl::Cord());
    return status;
  }

  // Sleeps until there is a reason to go on. False: the engine stops.
  bool WaitForReason(bool worked) {
    std::unique_lock lock(mutex_);
    const auto stops = [this] { return stopping_; };
    const auto is_woken = [this] { return stopping_ || !inbox_.empty(); };
    if (group_ && group_->is_outside()) {
      wake_.wait_for(lock, kBetweenTries, stops);
    } else if (group_ && group_->is_due()) {
      // Peers step, or the group is waited for in the step.
    } else if (!loop_.empty()) {
      // Sequences that could not gain a row; the watchdog of StepLoop ends such a state.
      if (!worked) wake_.wait_for(lock, std::chrono::milliseconds(10), is_woken);
    } else if (const auto totals = loop_.leases().totals(); totals.leases > 0) {
      // Leases end by themselves. A wait by duration, as in Drain.
      const absl::Duration patience =
          std::clamp(totals.next_deadline - clock_.Now(), absl::Milliseconds(1), absl::Seconds(1));
      wake_.wait_for(lock, absl::ToChronoNanoseconds(patience), is_woken);
    } else {
      wake_.wait(lock, is_woken);
    }
    return !stopping_;
  }

  // One step, with all that has arrived. True: something was done.
  bool RunOnce() {
    const bool peers_call = TakeInbox();
    const bool worked = group_ ? group_->Advance(peers_call) : loop_.Step();
    // A call that came while peers were known to step is answered: calls are for those asleep.
    if (group_ && group_->peers_step()) {
      std::lock_guard lock(mutex_);
      inbox_.peers_call = false;
    }
    Publish();
    if (worked && options_.on_step) options_.on_step(loop_.Snapshot());
    return worked;
  }

  // Hands what arrived to the loop. True: a peer has called.
  bool TakeInbox() {
    Inbox inbox;
    bool refuses = false;
    {
      std::lock_guard lock(mutex_);
      std::swap(inbox, inbox_);
      snapshot_.queued_requests += inbox.num_queued();
      snapshot_.outstanding_tokens += std::exchange(inbox_outstanding_tokens_, 0);
      refuses = stopping_ || draining_;
    }
    for (Submission& submission : inbox.requests) {
      loop_.Add(std::move(submission.request), std::move(submission.sink),
                std::move(submission.taken));
    }
    for (auto& [prompt, lease] : inbox.leases) {
      loop_.AddLeaseRequest(std::move(prompt), std::move(lease));
    }
    for (const std::string& id : inbox.releases) loop_.ReleaseLease(id);
    for (const RequestId& id : inbox.cancels) loop_.Cancel(id);
    if (refuses) loop_.RefuseLeases(absl::UnavailableError("the worker is draining"));
    return inbox.peers_call;
  }

  // Lets the id be used again; called on the loop's thread.
  void ForgetId(const RequestId& id) {
    std::lock_guard lock(mutex_);
    ids_.erase(id);
    inbox_.cancels.erase(id);  // must not meet a later request of that id
    ++num_ended_;
  }

  void Publish() {
    EngineSnapshot snapshot = loop_.Snapshot();
    std::lock_guard lock(mutex_);
    snapshot_ = snapshot;
    num_open_ -= std::exchange(num_ended_, 0);
    if (num_open_ == 0) idle_.notify_all();
  }

  model::VlModel& model_;
  const EngineOptions options_;
  const int64_t num_blocks_;
  const Clock& clock_;
  // Of the loop's thread, or of StepForTest's caller; leases() of any.
  StepLoop loop_;
  std::optional<GroupSteps> group_;

  mutable std::mutex mutex_;  // guards all below but thread_
  std::condition_variable wake_;
  std::condition_variable idle_;
  bool stopping_ = false;
  bool draining_ = false;
  Inbox inbox_;
  int64_t inbox_outstanding_tokens_ = 0;
  absl::flat_hash_set<RequestId> ids_;  // of requests that have not ended
  int64_t num_open_ = 0;                // requests whose OnFinish has not returned
  int64_t num_ended_ = 0;               // of them, those that end in this step
  EngineSnapshot snapshot_;
  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(model::VlModel& model,
                                                       const EngineOptions& options,
                                                       const Clock& clock) {
  TESSERA_RETURN_IF_ERROR(CheckOptions(options));
  const model::KvLayout layout = model.kv_layout();
  const int64_t bytes_per_block =
      layout.num_layers * layout.BlockBytes(options.kv_block_size_tokens);
  const int64_t num_blocks = options.kv_cache_bytes / bytes_per_block;
  if (num_blocks < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("kv_cache_bytes is ", options.kv_cache_bytes,
                     ", must be at least one block of all layers: ", bytes_per_block));
  }
  return std::make_unique<ThreadedEngine>(
      model, options, std::min<int64_t>(num_blocks, std::numeric_limits<int32_t>::max()), clock);
}

}  // namespace tessera::engine
