#include "worker/engine/engine.h"

#include <algorithm>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "services/base/check.h"
#include "services/base/status_macros.h"
#include "worker/engine/request_check.h"
#include "worker/engine/step_loop.h"

namespace tessera::engine {
namespace {

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
        snapshot_(loop_.Snapshot()) {}

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
      if (stopping_ || draining_) return absl::UnavailableError("the worker is draining");
      if (ids_.contains(request.id)) {
        return absl::AlreadyExistsError("request_id is in use on this worker");
      }
      const int64_t queued = static_cast<int64_t>(inbox_.size()) + snapshot_.queued_requests;
      if (queued >= options_.max_queued_requests) {
        absl::Status status = absl::ResourceExhaustedError(
            absl::StrCat("the queue is full: ", queued, " requests are waiting, the bound is ",
                         options_.max_queued_requests));
        status.SetPayload(kQueueFullPayload, absl::Cord());
        return status;
      }
      ids_.insert(request.id);
      ++num_open_;
      inbox_outstanding_tokens_ += request.num_prompt_tokens + request.sampling.max_tokens;
      inbox_.push_back({std::move(request), std::move(sink)});
    }
    wake_.notify_one();
    return absl::OkStatus();
  }

  void Cancel(const RequestId& id) override {
    {
      std::lock_guard lock(mutex_);
      if (!ids_.contains(id)) return;
      cancels_.insert(id);
    }
    wake_.notify_one();
  }

  EngineSnapshot Snapshot() const override {
    std::lock_guard lock(mutex_);
    EngineSnapshot snapshot = snapshot_;
    snapshot.queued_requests += static_cast<int64_t>(inbox_.size());
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
    cancels_ = ids_;
    lock.unlock();
    wake_.notify_one();
    return absl::DeadlineExceededError(
        absl::StrCat(cut, " requests had not ended when draining timed out; they are cancelled"));
  }

  bool StepForTest() override {
    TESSERA_CHECK(!thread_.joinable()) << "the loop's thread is running";
    TakeInbox();
    const bool worked = loop_.Step();
    Publish();
    if (worked && options_.on_step) options_.on_step(loop_.Snapshot());
    return worked;
  }

  void Start() override {
    TESSERA_CHECK(!thread_.joinable()) << "Start was called before";
    thread_ = std::thread([this] { Run(); });
  }

 private:
  struct Submission {
    GenerationRequest request;
    std::unique_ptr<EventSink> sink;
  };

  void Run() {
    bool worked = true;
    for (;;) {
      {
        std::unique_lock lock(mutex_);
        const auto woken = [this] { return stopping_ || !inbox_.empty() || !cancels_.empty(); };
        if (loop_.empty()) {
          wake_.wait(lock, woken);
        } else if (!worked) {
          // Sequences that could not gain a row; the watchdog of StepLoop ends such a state.
          wake_.wait_for(lock, std::chrono::milliseconds(10), woken);
        }
        if (stopping_) return;
      }
      TakeInbox();
      worked = loop_.Step();
      Publish();
      if (worked && options_.on_step) options_.on_step(loop_.Snapshot());
    }
  }

  // Hands what arrived to the loop.
  void TakeInbox() {
    std::vector<Submission> inbox;
    absl::flat_hash_set<RequestId> cancels;
    {
      std::lock_guard lock(mutex_);
      inbox.swap(inbox_);
      cancels.swap(cancels_);
      snapshot_.queued_requests += static_cast<int64_t>(inbox.size());
      snapshot_.outstanding_tokens += std::exchange(inbox_outstanding_tokens_, 0);
    }
    for (Submission& submission : inbox) {
      loop_.Add(std::move(submission.request), std::move(submission.sink));
    }
    for (const RequestId& id : cancels) loop_.Cancel(id);
  }

  // Lets the id be used again; called on the loop's thread.
  void ForgetId(const RequestId& id) {
    std::lock_guard lock(mutex_);
    ids_.erase(id);
    cancels_.erase(id);  // must not meet a later request of that id
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
  StepLoop loop_;  // of the loop's thread, or of StepForTest's caller

  mutable std::mutex mutex_;  // guards all below but thread_
  std::condition_variable wake_;
  std::condition_variable idle_;
  bool stopping_ = false;
  bool draining_ = false;
  std::vector<Submission> inbox_;  // bounded with the loop's queue by max_queued_requests
  int64_t inbox_outstanding_tokens_ = 0;
  absl::flat_hash_set<RequestId> cancels_;  // of ids_
  absl::flat_hash_set<RequestId> ids_;      // of requests that have not ended
  int64_t num_open_ = 0;                    // requests whose OnFinish has not returned
  int64_t num_ended_ = 0;                   // of them, those that end in this step
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
