#include "worker/service/kv_sender.h"

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <algorithm>
#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/rpc/channel.h"
#include "services/rpc/grpc_status.h"

namespace tessera::worker {
namespace {

constexpr int64_t kMaxMessageBytes = 1 << 20;  // of rows; a row is smaller

}  // namespace

bool SendBudget::Take(int64_t bytes) {
  if (used_.fetch_add(bytes) + bytes <= bytes_) return true;
  used_ -= bytes;
  return false;
}

// One PushKv call.
class KvSender::Stream final : public grpc::ClientWriteReactor<v1::PushKvRequest> {
 public:
  Stream(KvSender& sender, KvTarget target) : sender_(sender), target_(std::move(target)) {}

  void Start() {
    context_.set_deadline(rpc::ToChrono(sender_.options_.deadline));
    target_.stub->async()->PushKv(&context_, &response_, this);
    // Writes come from other threads than the reactions.
    AddHold();
    StartCall();
  }

  bool Takes(int64_t layer) const {
    return layer >= target_.first_layer && layer < target_.first_layer + target_.num_layers;
  }

  void Add(v1::PushKvRequest message) {
    {
      std::lock_guard lock(mutex_);
      if (closed_) {
        sender_.options_.budget->Return(static_cast<int64_t>(message.rows().size()));
        return;
      }
      queue_.push_back(std::move(message));
    }
    Pump();
  }

  void Complete() {
    {
      std::lock_guard lock(mutex_);
      complete_ = true;
    }
    Pump();
  }

  void Cancel() {
    {
      std::lock_guard lock(mutex_);
      cancelled_ = true;
    }
    context_.TryCancel();
    Pump();
  }

  void OnWriteDone(bool ok) override {
    {
      std::lock_guard lock(mutex_);
      writing_ = false;
      sender_.options_.budget->Return(static_cast<int64_t>(current_.rows().size()));
      if (!ok) cancelled_ = true;  // the call's status says why
    }
    Pump();
  }

  void OnDone(const grpc::Status& status) override {
    ReturnQueue();
    sender_.StreamEnded(rpc::FromGrpcStatus(status));  // this may be gone
  }

 private:
  enum class Action { kNothing, kWrite, kEnd, kGiveUp };

  void Pump() {
    Action action = Action::kNothing;
    {
      std::lock_guard lock(mutex_);
      action = NextAction();
    }
    switch (action) {
      case Action::kNothing:
        return;
      case Action::kWrite:
        StartWrite(&current_);
        return;
      case Action::kEnd:
        StartWritesDone();
        RemoveHold();
        return;
      case Action::kGiveUp:
        ReturnQueue();
        RemoveHold();
        return;
    }
  }

  Action NextAction() {  // caller holds mutex_
    if (closed_ || writing_) return Action::kNothing;
    if (cancelled_) {
      closed_ = true;
      return Action::kGiveUp;
    }
    if (!queue_.empty()) {
      current_ = std::move(queue_.front());
      queue_.pop_front();
      if (!std::exchange(started_, true)) {
        current_.mutable_blocks()->Assign(target_.blocks.begin(), target_.blocks.end());
      }
      writing_ = true;
      return Action::kWrite;
    }
    if (!complete_) return Action::kNothing;
    closed_ = true;
    return Action::kEnd;
  }

  void ReturnQueue() {
    std::lock_guard lock(mutex_);
    for (const v1::PushKvRequest& message : queue_) {
      sender_.options_.budget->Return(static_cast<int64_t>(message.rows().size()));
    }
    queue_.clear();
  }

  KvSender& sender_;
  const KvTarget target_;
  grpc::ClientContext context_;
  v1::PushKvResponse response_;

  std::mutex mutex_;  // guards all below
  std::deque<v1::PushKvRequest> queue_;
  bool started_ = false;
  bool writing_ = false;  // current_ belongs to gRPC
  bool complete_ = false;
  bool cancelled_ = false;
  bool closed_ = false;  // no further write is started
  v1::PushKvRequest current_;
};

class KvSender::Export final : public engine::KvExport {
 public:
  explicit Export(std::shared_ptr<KvSender> sender) : sender_(std::move(sender)) {}
  void OnRows(int64_t layer, int64_t first_position, int64_t num_rows,
              absl::Span<const std::byte> rows) override {
    sender_->AddRows(layer, first_position, num_rows, rows);
  }
  void OnComplete() override { sender_->Complete(); }

 private:
  const std::shared_ptr<KvSender> sender_;
};

KvSender::KvSender(Options options, std::function<void(KvSendResult)> done)
    : options_(std::move(options)), done_(std::move(done)) {}
KvSender::~KvSender() = default;

std::shared_ptr<KvSender> KvSender::Start(std::vector<KvTarget> targets, Options options,
                                          std::function<void(KvSendResult)> done) {
  const std::shared_ptr<KvSender> sender(new KvSender(std::move(options), std::move(done)));
  sender->self_ = sender;
  sender->streams_open_ = targets.size();
  for (KvTarget& target : targets) {
    sender->streams_.push_back(std::make_unique<Stream>(*sender, std::move(target)));
  }
  for (const std::unique_ptr<Stream>& stream : sender->streams_) stream->Start();
  return sender;
}

std::shared_ptr<engine::KvExport> KvSender::MakeExport() {
  return std::make_shared<Export>(shared_from_this());
}

void KvSender::AddRows(int64_t layer, int64_t first_position, int64_t num_rows,
                       absl::Span<const std::byte> rows) {
  const int64_t skip = std::clamp(options_.skip_tokens - first_position, int64_t{0}, num_rows);
  const int64_t rows_per_message = std::max<int64_t>(1, kMaxMessageBytes / options_.row_bytes);
  for (int64_t row = skip; row < num_rows; row += rows_per_message) {
    const int64_t bytes = std::min(rows_per_message, num_rows - row) * options_.row_bytes;
    for (const std::unique_ptr<Stream>& stream : streams_) {
      if (!stream->Takes(layer)) continue;
      if (!options_.budget->Take(bytes)) {
        Fail(absl::ResourceExhaustedError(
            absl::StrCat("more than ", options_.budget->bytes(),
                         " bytes of keys and values wait to be handed over")));
        return;
      }
      v1::PushKvRequest message;
      message.set_handoff_id(options_.handoff_id);
      message.set_layer(static_cast<int32_t>(layer));
      message.set_first_position(static_cast<int32_t>(first_position + row));
      message.set_rows(rows.data() + row * options_.row_bytes, static_cast<size_t>(bytes));
      {
        std::lock_guard lock(mutex_);
        bytes_ += bytes;
      }
      stream->Add(std::move(message));
    }
  }
}

void KvSender::Complete() {
  {
    std::lock_guard lock(mutex_);
    completed_ = absl::Now();
  }
  for (const std::unique_ptr<Stream>& stream : streams_) stream->Complete();
}

void KvSender::EndStreams(const absl::Status& status, bool failed_here) {
  {
    std::lock_guard lock(mutex_);
    if (status_.ok()) {
      status_ = status;
      failed_here_ = failed_here;
    }
  }
  for (const std::unique_ptr<Stream>& stream : streams_) stream->Cancel();
}

void KvSender::Fail(const absl::Status& status) { EndStreams(status, true); }

void KvSender::StreamEnded(const absl::Status& status) {
  // The others are of no use without this one.
  if (!status.ok()) EndStreams(status, false);
  std::shared_ptr<KvSender> self;
  KvSendResult result;
  {
    std::lock_guard lock(mutex_);
    if (--streams_open_ > 0) return;
    self = std::move(self_);
    result.status = status_;
    result.failed_here = failed_here_;
    result.bytes = bytes_;
    result.tail = std::max(absl::ZeroDuration(), absl::Now() - completed_);
  }
  done_(std::move(result));
}

}  // namespace tessera::worker
