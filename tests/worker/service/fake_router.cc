#include "tests/worker/service/fake_router.h"

#include <chrono>

#include "services/base/check.h"

namespace tessera::worker::testing {

FakeRouter::FakeRouter(const std::string& address) {
  rpc::ServerOptions options;
  options.listen = address;
  auto server = rpc::Server::Start(options, {this});
  TESSERA_CHECK(server.ok()) << server.status().ToString();
  server_ = *std::move(server);
}

void FakeRouter::Forget() {
  std::lock_guard lock(mutex_);
  known_ = false;
}
void FakeRouter::set_epoch(uint64_t epoch) {
  std::lock_guard lock(mutex_);
  epoch_ = epoch;
}
void FakeRouter::FailNext(int count) {
  std::lock_guard lock(mutex_);
  failures_left_ = count;
}
std::vector<v1::RegisterRequest> FakeRouter::registrations() const {
  std::lock_guard lock(mutex_);
  return registrations_;
}
std::vector<v1::HeartbeatRequest> FakeRouter::heartbeats() const {
  std::lock_guard lock(mutex_);
  return heartbeats_;
}
std::vector<std::string> FakeRouter::farewells() const {
  std::lock_guard lock(mutex_);
  return farewells_;
}

bool FakeRouter::WaitUntil(const std::function<bool(const FakeRouter&)>& done) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return done(*this); });
}

bool FakeRouter::TakeFailure() {
  changed_.notify_all();
  if (failures_left_ == 0) return false;
  --failures_left_;
  return true;
}

grpc::Status FakeRouter::Register(grpc::ServerContext* context, const v1::RegisterRequest* request,
                                  v1::RegisterResponse* response) {
  std::lock_guard lock(mutex_);
  registrations_.push_back(*request);
  if (TakeFailure()) return {grpc::StatusCode::UNAVAILABLE, "not yet"};
  known_ = true;
  response->set_epoch(epoch_);
  response->set_lease_ms(5000);
  response->set_heartbeat_interval_ms(10);
  return grpc::Status::OK;
}

grpc::Status FakeRouter::Heartbeat(grpc::ServerContext* context,
                                   const v1::HeartbeatRequest* request,
                                   v1::HeartbeatResponse* response) {
  std::lock_guard lock(mutex_);
  heartbeats_.push_back(*request);
  if (TakeFailure()) return {grpc::StatusCode::UNAVAILABLE, "not now"};
  if (!known_) return {grpc::StatusCode::NOT_FOUND, "unknown worker"};
  response->set_epoch(epoch_);
  return grpc::Status::OK;
}

grpc::Status FakeRouter::Deregister(grpc::ServerContext* context,
                                    const v1::DeregisterRequest* request,
                                    v1::DeregisterResponse* response) {
  std::lock_guard lock(mutex_);
  farewells_.push_back(request->worker_id());
  changed_.notify_all();
  return grpc::Status::OK;
}

}  // namespace tessera::worker::testing
