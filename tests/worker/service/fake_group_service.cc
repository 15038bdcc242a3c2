#include "tests/worker/service/fake_group_service.h"

#include <chrono>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/base/check.h"

namespace tessera::worker::testing {
namespace {

// How often a call looks whether its caller is still there.
constexpr std::chrono::milliseconds kLook{5};

}  // namespace

FakeGroupService::FakeGroupService(const std::string& address) {
  rpc::ServerOptions options;
  options.listen = address;
  auto server = rpc::Server::Start(options, {this});
  TESSERA_CHECK(server.ok()) << server.status().ToString();
  server_ = *std::move(server);
}

FakeGroupService::~FakeGroupService() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  server_->Drain(absl::Now());
}

void FakeGroupService::Declare(const v1::GroupView& view) {
  std::lock_guard lock(mutex_);
  view_ = view;
  ++num_views_;
  changed_.notify_all();
}

std::vector<v1::JoinGroupRequest> FakeGroupService::joins() const {
  std::lock_guard lock(mutex_);
  return joins_;
}
std::vector<v1::ReportSuspectRequest> FakeGroupService::suspects() const {
  std::lock_guard lock(mutex_);
  return suspects_;
}
int FakeGroupService::num_streams() const {
  std::lock_guard lock(mutex_);
  return num_streams_;
}

bool FakeGroupService::WaitUntil(const std::function<bool(const FakeGroupService&)>& done) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return done(*this); });
}

grpc::Status FakeGroupService::JoinGroup(grpc::ServerContext* context,
                                         const v1::JoinGroupRequest* request,
                                         grpc::ServerWriter<v1::GroupView>* writer) {
  std::unique_lock lock(mutex_);
  joins_.push_back(*request);
  ++num_streams_;
  changed_.notify_all();
  int sent = 0;
  while (!stopping_ && !context->IsCancelled()) {
    if (sent < num_views_) {
      sent = num_views_;
      const v1::GroupView view = view_;
      lock.unlock();
      writer->Write(view);
      lock.lock();
    } else {
      changed_.wait_for(lock, kLook);
    }
  }
  --num_streams_;
  changed_.notify_all();
  return {grpc::StatusCode::UNAVAILABLE, "the router is stopping"};
}

grpc::Status FakeGroupService::Exchange(grpc::ServerContext* context,
                                        const v1::ExchangeRequest* request,
                                        v1::ExchangeResponse* response) {
  std::unique_lock lock(mutex_);
  auto& round = rounds_[absl::StrCat(request->epoch(), "/", request->round())];
  round[request->rank()] = request->data();
  changed_.notify_all();
  for (;;) {
    if (stopping_ || request->epoch() != view_.epoch()) {
      return {grpc::StatusCode::ABORTED, "the epoch is over"};
    }
    if (static_cast<int>(round.size()) == view_.members_size()) break;
    if (context->IsCancelled()) return grpc::Status::CANCELLED;
    changed_.wait_for(lock, kLook);
  }
  for (const auto& [rank, data] : round) response->add_data(data);
  return grpc::Status::OK;
}

grpc::Status FakeGroupService::ReportSuspect(grpc::ServerContext* context,
                                             const v1::ReportSuspectRequest* request,
                                             v1::ReportSuspectResponse* response) {
  std::lock_guard lock(mutex_);
  suspects_.push_back(*request);
  changed_.notify_all();
  return grpc::Status::OK;
}

v1::GroupView MakeView(uint64_t epoch, int stages, const std::vector<std::string>& worker_ids) {
  v1::GroupView view;
  view.set_group("g");
  view.set_epoch(epoch);
  view.set_stages(stages);
  view.set_columns(static_cast<int32_t>(worker_ids.size()) / stages);
  for (const std::string& id : worker_ids) {
    v1::GroupMember& member = *view.add_members();
    member.set_worker_id(id);
    member.set_address(id);
    member.set_started_at_ms(1);
  }
  return view;
}

v1::JoinGroupRequest MakeJoin(const std::string& worker_id) {
  v1::JoinGroupRequest join;
  join.set_worker_id(worker_id);
  join.set_group("g");
  join.set_started_at_ms(1);
  join.set_transport("test");
  return join;
}

}  // namespace tessera::worker::testing
