// A GroupService that says to ranks what the test says.
#ifndef TESSERA_TESTS_WORKER_SERVICE_FAKE_GROUP_SERVICE_H_
#define TESSERA_TESTS_WORKER_SERVICE_FAKE_GROUP_SERVICE_H_

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "services/rpc/server.h"
#include "tessera/v1/group.grpc.pb.h"

namespace tessera::worker::testing {

class FakeGroupService final : public v1::GroupService::Service {
 public:
  // address: where to listen; a port that was used before comes back for a restart.
  explicit FakeGroupService(const std::string& address = "127.0.0.1:0");
  ~FakeGroupService() override;

  const std::string& address() const { return server_->address(); }

  // To all that have joined, and to those that will.
  void Declare(const v1::GroupView& view);

  std::vector<v1::JoinGroupRequest> joins() const;
  std::vector<v1::ReportSuspectRequest> suspects() const;
  int num_streams() const;  // open now
  // Waits until `done` holds; false after 20 s.
  bool WaitUntil(const std::function<bool(const FakeGroupService&)>& done) const;

  grpc::Status JoinGroup(grpc::ServerContext* context, const v1::JoinGroupRequest* request,
                         grpc::ServerWriter<v1::GroupView>* writer) override;
  grpc::Status Exchange(grpc::ServerContext* context, const v1::ExchangeRequest* request,
                        v1::ExchangeResponse* response) override;
  grpc::Status ReportSuspect(grpc::ServerContext* context, const v1::ReportSuspectRequest* request,
                             v1::ReportSuspectResponse* response) override;

 private:
  mutable std::recursive_mutex mutex_;  // WaitUntil's condition calls the getters
  mutable std::condition_variable_any changed_;
  bool stopping_ = false;
  int num_views_ = 0;
  v1::GroupView view_;
  std::vector<v1::JoinGroupRequest> joins_;
  std::vector<v1::ReportSuspectRequest> suspects_;
  int num_streams_ = 0;
  std::map<std::string, std::map<int, std::string>> rounds_;
  std::unique_ptr<rpc::Server> server_;  // last: its calls use all above
};

// One member per worker id, all started at time 1; the address is the id.
v1::GroupView MakeView(uint64_t epoch, int stages, const std::vector<std::string>& worker_ids);
v1::JoinGroupRequest MakeJoin(const std::string& worker_id);

}  // namespace tessera::worker::testing

#endif  // TESSERA_TESTS_WORKER_SERVICE_FAKE_GROUP_SERVICE_H_
