#include "worker/service/group_membership.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/base/log.h"
#include "services/rpc/channel.h"
#include "services/rpc/grpc_status.h"
#include "tessera/v1/group.grpc.pb.h"
#include "worker/service/registration.h"

namespace tessera::worker {
namespace {

constexpr absl::Duration kReportTimeout = absl::Seconds(1);

}  // namespace

struct GroupMembership::State {
  State(const std::string& router_address, v1::JoinGroupRequest self_in, Listener listener_in)
      : self(std::move(self_in)),
        listener(std::move(listener_in)),
        stub(v1::GroupService::NewStub(rpc::MakeChannel(router_address))) {}

  void Run();
  // One stream from its beginning to its end. True if a view came.
  bool Follow();

  v1::JoinGroupRequest self;  // of the thread alone; `current` is the newest view with an epoch
  const std::string group = self.group();
  const std::string worker_id = self.worker_id();
  const Listener listener;
  const std::shared_ptr<v1::GroupService::Stub> stub;

  std::mutex mutex;  // guards the next three
  std::condition_variable wake;
  bool leaving = false;
  grpc::ClientContext* stream = nullptr;  // of the stream under way

  std::thread thread;
};

bool GroupMembership::State::Follow() {
  grpc::ClientContext context;  // without a deadline: keep-alive pings end a stream that is dead
  {
    std::lock_guard lock(mutex);
    if (leaving) return false;
    stream = &context;
  }
  bool heard = false;
  v1::GroupView view;
  const auto reader = stub->JoinGroup(&context, self);
  while (reader->Read(&view)) {
    if (!std::exchange(heard, true)) {
      TESSERA_LOG(kDebug) << "the router has this rank in group " << group;
    }
    if (view.epoch() > 0) *self.mutable_current() = view;
    listener(view);
  }
  const absl::Status status = rpc::FromGrpcStatus(reader->Finish());
  std::lock_guard lock(mutex);
  stream = nullptr;
  if (!leaving) {
    TESSERA_LOG(kWarning) << "the seat in group " << group
                          << " is to be taken again: " << status.ToString();
  }
  return heard;
}

void GroupMembership::State::Run() {
  std::mt19937_64 random{std::random_device()()};
  int failures = 0;
  for (;;) {
    failures = Follow() ? 1 : failures + 1;
    const absl::Duration pause =
        RetryPause(failures, std::uniform_real_distribution<double>(0, 1)(random));
    std::unique_lock lock(mutex);
    wake.wait_for(lock, absl::ToChronoNanoseconds(pause), [this] { return leaving; });
    if (leaving) return;
  }
}

GroupMembership::GroupMembership(const std::string& router_address, v1::JoinGroupRequest self,
                                 Listener listener)
    : state_(std::make_unique<State>(router_address, std::move(self), std::move(listener))) {
  state_->thread = std::thread([state = state_.get()] { state->Run(); });
}

GroupMembership::~GroupMembership() { Leave(); }

transport::Rendezvous GroupMembership::RendezvousOf(uint64_t epoch, int rank) const {
  return [stub = state_->stub, group = state_->group, epoch, rank](
             std::string_view round, std::string_view mine,
             absl::Time deadline) -> absl::StatusOr<std::vector<std::string>> {
    grpc::ClientContext context;
    context.set_deadline(rpc::ToChrono(deadline));
    v1::ExchangeRequest request;
    request.set_group(group);
    request.set_epoch(epoch);
    request.set_rank(rank);
    request.set_round(std::string(round));
    request.set_data(std::string(mine));
    v1::ExchangeResponse response;
    const grpc::Status status = stub->Exchange(&context, request, &response);
    if (!status.ok()) return rpc::FromGrpcStatus(status);
    return std::vector<std::string>(response.data().begin(), response.data().end());
  };
}

void GroupMembership::ReportSuspect(uint64_t epoch) {
  grpc::ClientContext context;
  context.set_deadline(rpc::ToChrono(absl::Now() + kReportTimeout));
  v1::ReportSuspectRequest request;
  request.set_group(state_->group);
  request.set_epoch(epoch);
  request.set_worker_id(state_->worker_id);
  v1::ReportSuspectResponse response;
  const grpc::Status status = state_->stub->ReportSuspect(&context, request, &response);
  if (!status.ok()) {
    TESSERA_LOG(kDebug) << "could not report a broken epoch: " << status.error_message();
  }
}

void GroupMembership::Leave() {
  {
    std::lock_guard lock(state_->mutex);
    state_->leaving = true;
    if (state_->stream != nullptr) state_->stream->TryCancel();
  }
  state_->wake.notify_all();
  if (state_->thread.joinable()) state_->thread.join();
}

}  // namespace tessera::worker
