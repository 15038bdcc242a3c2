#include "router/group/group_service.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "router/group/exchange_table.h"
#include "router/group/group_wire.h"
#include "services/base/log.h"
#include "services/rpc/channel.h"
#include "services/rpc/grpc_status.h"
#include "services/telemetry/metrics.h"
#include "tessera/v1/group.grpc.pb.h"

namespace tessera::router {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

constexpr absl::Duration kLongestSleep = absl::Seconds(1);  // the clock may be turned

absl::Status StoppingError() { return absl::UnavailableError("the router stops"); }

ServerUnaryReactor* Answer(CallbackServerContext* context, const absl::Status& status) {
  ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(rpc::ToGrpcStatus(status));
  return reactor;
}

class Impl;

// One rank's JoinGroup call; deletes itself. What is not const is guarded by the service's mutex,
// which may be held during StartWrite and Finish: gRPC runs their reactions elsewhere.
class JoinStream final : public grpc::ServerWriteReactor<v1::GroupView> {
 public:
  JoinStream(Impl& service, std::string group) : service_(service), group_(std::move(group)) {}

  const std::string& group() const { return group_; }
  uint64_t ticket() const { return ticket_; }
  void set_ticket(uint64_t ticket) { ticket_ = ticket; }

  // Only the newest view is of use, so that one is kept while another is under way.
  void Send(const v1::GroupView& view) {
    if (finished_ || told_ == view.epoch()) return;
    told_ = view.epoch();
    pending_ = view;
    WriteNext();
  }
  void End(const absl::Status& status) {
    if (finished_) return;
    finished_ = true;
    pending_.reset();
    Finish(rpc::ToGrpcStatus(status));
  }
  void Written(bool ok) {
    writing_ = false;
    if (ok) {
      WriteNext();
    } else {
      End(absl::CancelledError("the rank has gone"));
    }
  }

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  void WriteNext() {
    if (writing_ || finished_ || !pending_.has_value()) return;
    written_ = *std::move(pending_);
    pending_.reset();
    writing_ = true;
    StartWrite(&written_);
  }

  Impl& service_;
  const std::string group_;
  uint64_t ticket_ = 0;           // 0: not taken in
  std::optional<uint64_t> told_;  // the last epoch that was, or is to be, written
  std::optional<v1::GroupView> pending_;
  v1::GroupView written_;
  bool writing_ = false;
  bool finished_ = false;
};

// One Exchange call; deletes itself. Guarded as JoinStream.
class ExchangeCall final : public ServerUnaryReactor {
 public:
  ExchangeCall(Impl& service, v1::ExchangeResponse& response)
      : service_(service), response_(response) {}

  uint64_t ticket() const { return ticket_; }
  void set_ticket(uint64_t ticket) { ticket_ = ticket; }
  void End(const absl::StatusOr<std::vector<std::string>>& parts) {
    if (finished_) return;
    finished_ = true;
    if (parts.ok()) {
      for (const std::string& part : *parts) response_.add_data(part);
    }
    Finish(rpc::ToGrpcStatus(parts.status()));
  }

  void OnCancel() override;  // also when the deadline has passed
  void OnDone() override { delete this; }

 private:
  Impl& service_;
  v1::ExchangeResponse& response_;
  uint64_t ticket_ = 0;  // 0: not taken in
  bool finished_ = false;
};

class Impl final : public GroupService, public v1::GroupService::CallbackService {
 public:
  Impl(const GroupServiceOptions& options, const Clock& clock, telemetry::Metrics& metrics)
      : on_suspect_(options.on_suspect),
        clock_(clock),
        metrics_(metrics),
        table_(options.table, clock),
        timer_([this] { RunTimer(); }) {}

  ~Impl() override {
    Stop();
    timer_.join();
  }

  grpc::Service& service() override { return *this; }

  void OnHeartbeat(const std::string& worker_id, absl::Time heard) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    table_.Touch(worker_id, heard);
  }

  absl::Status SetPlacement(const std::string& group,
                            std::vector<LayerPlacement> placement) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    const absl::Status status = table_.SetPlacement(group, std::move(placement));
    Publish();
    return status;
  }

  void Expire() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    table_.Expire(clock_.Now());
    Publish();
  }

  size_t open_exchanges() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return exchanges_.open_calls();
  }

  void Stop() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
    for (const auto& [ticket, stream] : streams_) stream->End(StoppingError());
    exchanges_.EndAll(StoppingError());
    changed_.notify_all();
  }

  grpc::ServerWriteReactor<v1::GroupView>* JoinGroup(CallbackServerContext* context,
                                                     const v1::JoinGroupRequest* request) override {
    auto* stream = new JoinStream(*this, request->group());
    const std::lock_guard<std::mutex> lock(mutex_);
    const absl::StatusOr<uint64_t> ticket =
        stopped_ ? absl::StatusOr<uint64_t>(StoppingError()) : table_.Join(FromProto(*request));
    if (!ticket.ok()) {
      stream->End(ticket.status());
    } else {
      stream->set_ticket(*ticket);
      streams_.emplace(*ticket, stream);
      if (const GroupView* view = table_.View(request->group())) stream->Send(ToProto(*view));
    }
    Publish();
    changed_.notify_all();
    return stream;
  }

  ServerUnaryReactor* Exchange(CallbackServerContext* context, const v1::ExchangeRequest* request,
                               v1::ExchangeResponse* response) override {
    auto* call = new ExchangeCall(*this, *response);
    const bool has_deadline = rpc::FromChrono(context->deadline()) != absl::InfiniteFuture();
    const std::lock_guard<std::mutex> lock(mutex_);
    if (const absl::Status status = DoExchange(*request, has_deadline, *call); !status.ok()) {
      call->End(status);
    }
    return call;
  }

  ServerUnaryReactor* ReportSuspect(CallbackServerContext* context,
                                    const v1::ReportSuspectRequest* request,
                                    v1::ReportSuspectResponse*) override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!table_.Suspect(request->group(), request->epoch(), request->worker_id())) {
        return Answer(context, absl::OkStatus());  // late, or a stranger: nothing to look at
      }
    }
    TESSERA_LOG(kInfo)
            .With("group", request->group())
            .With("epoch", request->epoch())
            .With("worker_id", request->worker_id())
        << "a member says that another one does not answer";
    if (on_suspect_) on_suspect_(request->group());
    Expire();
    changed_.notify_all();
    return Answer(context, absl::OkStatus());
  }

  void Written(JoinStream& stream, bool ok) {
    const std::lock_guard<std::mutex> lock(mutex_);
    stream.Written(ok);
  }

  // The rank has left, whether or not gRPC still needs the call.
  void Left(JoinStream& stream) {
    const std::lock_guard<std::mutex> lock(mutex_);
    stream.End(absl::CancelledError("the rank has left"));
    // A router that stops loses its calls, not the ranks.
    if (streams_.erase(stream.ticket()) == 0 || stopped_) return;
    table_.Leave(stream.ticket());
    Publish();
  }

  void Cancelled(ExchangeCall& call) {
    const std::lock_guard<std::mutex> lock(mutex_);
    exchanges_.Remove(call.ticket());
    call.End(absl::DeadlineExceededError("not all members came in time"));
  }

 private:
  absl::Status DoExchange(const v1::ExchangeRequest& request, bool has_deadline,
                          ExchangeCall& call) {
    if (stopped_) return StoppingError();
    if (!has_deadline) return absl::InvalidArgumentError("deadline: the call must have one");
    const GroupView* view = table_.View(request.group());
    if (view == nullptr || request.epoch() == 0 || view->epoch != request.epoch()) {
      return absl::AbortedError("the epoch is over");
    }
    const auto ranks = static_cast<int32_t>(view->members.size());
    const absl::StatusOr<uint64_t> ticket =
        exchanges_.Add(FromProto(request), ranks, [&call](const auto& parts) { call.End(parts); });
    if (ticket.ok()) call.set_ticket(*ticket);
    return ticket.status();
  }

  // mutex_ is held, here and below.
  void Publish() {
    const GroupEvents events = table_.TakeEvents();
    for (const GroupEvents::End& end : events.ended) {
      const auto stream = streams_.find(end.ticket);
      if (stream != streams_.end()) stream->second->End(end.reason);
    }
    for (const std::string& group : events.changed) {
      if (const GroupView* view = table_.View(group)) Tell(*view);
    }
    ReportMetrics();
  }

  void Tell(const GroupView& view) {
    exchanges_.AbortOthers(view.group, view.epoch);
    const v1::GroupView proto = ToProto(view);
    for (const auto& [ticket, stream] : streams_) {
      if (stream->group() == view.group) stream->Send(proto);
    }
    TESSERA_LOG(kInfo)
            .With("group", view.group)
            .With("epoch", view.epoch)
            .With("columns", view.columns)
        << (view.epoch == 0 ? "a group cannot stand" : "a group stands in an epoch");
  }

  void ReportMetrics();

  void RunTimer() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!stopped_) {
      const absl::Duration sleep =
          std::clamp(table_.NextExpiry() - clock_.Now(), absl::Milliseconds(1), kLongestSleep);
      changed_.wait_for(lock, absl::ToChronoNanoseconds(sleep));
      if (stopped_) break;
      table_.Expire(clock_.Now());
      Publish();
    }
  }

  const std::function<void(const std::string&)> on_suspect_;
  const Clock& clock_;
  telemetry::Metrics& metrics_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  bool stopped_ = false;
  GroupTable table_;
  ExchangeTable exchanges_;
  std::map<uint64_t, JoinStream*> streams_;  // by ticket
  std::thread timer_;                        // last: it uses the rest
};

void Impl::ReportMetrics() {
  const GroupCounts counts = table_.Counts();
  metrics_.Get(telemetry::GaugeId::kRouterGroups, "standing")
      .Set(static_cast<double>(counts.standing));
  metrics_.Get(telemetry::GaugeId::kRouterGroups, "waiting")
      .Set(static_cast<double>(counts.waiting));
  metrics_.Get(telemetry::GaugeId::kRouterGroupMembers, "listed")
      .Set(static_cast<double>(counts.listed_members));
  metrics_.Get(telemetry::GaugeId::kRouterGroupMembers, "waiting")
      .Set(static_cast<double>(counts.waiting_members));
  metrics_.Get(telemetry::CounterId::kRouterGroupChanges)
      .AdvanceTo(static_cast<double>(table_.declared_epochs()));
}

void JoinStream::OnWriteDone(bool ok) { service_.Written(*this, ok); }

void JoinStream::OnCancel() { service_.Left(*this); }

void JoinStream::OnDone() {
  service_.Left(*this);
  delete this;
}

void ExchangeCall::OnCancel() { service_.Cancelled(*this); }

}  // namespace

std::unique_ptr<GroupService> GroupService::Create(const GroupServiceOptions& options,
                                                   const Clock& clock,
                                                   telemetry::Metrics& metrics) {
  return std::make_unique<Impl>(options, clock, metrics);
}

}  // namespace tessera::router
