// A router that records what workers say and answers as the test likes.
#ifndef TESSERA_TESTS_WORKER_SERVICE_FAKE_ROUTER_H_
#define TESSERA_TESTS_WORKER_SERVICE_FAKE_ROUTER_H_

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "services/rpc/server.h"
#include "tessera/v1/router.grpc.pb.h"

namespace tessera::worker::testing {

class FakeRouter final : public v1::RouterService::Service {
 public:
  // address: where to listen; a port that was used before comes back for a restart.
  explicit FakeRouter(const std::string& address = "127.0.0.1:0");

  const std::string& address() const { return server_->address(); }

  // Forgets all workers: their next heartbeat is NOT_FOUND.
  void Forget();
  void set_epoch(uint64_t epoch);
  // So many of the next calls fail with UNAVAILABLE.
  void FailNext(int count);

  std::vector<v1::RegisterRequest> registrations() const;
  std::vector<v1::HeartbeatRequest> heartbeats() const;
  std::vector<std::string> farewells() const;
  // Waits until `done` holds for what was recorded; false after 20 s.
  bool WaitUntil(const std::function<bool(const FakeRouter&)>& done) const;

  grpc::Status Register(grpc::ServerContext* context, const v1::RegisterRequest* request,
                        v1::RegisterResponse* response) override;
  grpc::Status Heartbeat(grpc::ServerContext* context, const v1::HeartbeatRequest* request,
                         v1::HeartbeatResponse* response) override;
  grpc::Status Deregister(grpc::ServerContext* context, const v1::DeregisterRequest* request,
                          v1::DeregisterResponse* response) override;

 private:
  bool TakeFailure();  // caller holds mutex_

  mutable std::recursive_mutex mutex_;  // WaitUntil's condition calls the getters
  mutable std::condition_variable_any changed_;
  bool known_ = false;
  uint64_t epoch_ = 1;
  int failures_left_ = 0;
  std::vector<v1::RegisterRequest> registrations_;
  std::vector<v1::HeartbeatRequest> heartbeats_;
  std::vector<std::string> farewells_;
  std::unique_ptr<rpc::Server> server_;  // last: its calls use all above
};

}  // namespace tessera::worker::testing

#endif  // TESSERA_TESTS_WORKER_SERVICE_FAKE_ROUTER_H_
