// GroupService over gRPC: joins, exchanges and suspicions of ranks, on a GroupTable.
#ifndef TESSERA_ROUTER_GROUP_GROUP_SERVICE_H_
#define TESSERA_ROUTER_GROUP_GROUP_SERVICE_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "router/group/group_table.h"
#include "services/base/clock.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace tessera::telemetry {
class Metrics;
}  // namespace tessera::telemetry

namespace tessera::router {

struct GroupServiceOptions {
  GroupTableOptions table;
  // Called when a member says that another one does not answer, before the table's leases are
  // looked at: whoever can tell quickly who lives does it here. On a gRPC thread; must not block.
  std::function<void(const std::string& group)> on_suspect;
};

// Owns a thread that ends what its time has come for. Thread safe.
class GroupService {
 public:
  // clock and metrics outlive the service. metrics: of a router.
  static std::unique_ptr<GroupService> Create(const GroupServiceOptions& options,
                                              const Clock& clock, telemetry::Metrics& metrics);
  virtual ~GroupService() = default;  // after the server that it was given to

  virtual grpc::Service& service() = 0;

  // A worker was heard at that time: see GroupTable::Touch.
  virtual void OnHeartbeat(const std::string& worker_id, absl::Time heard) = 0;

  // As GroupTable::SetPlacement; the ranks hear of it at once.
  virtual absl::Status SetPlacement(const std::string& group,
                                    std::vector<LayerPlacement> placement) = 0;

  // Ends leases and waits that are over; the service's thread does it by itself in real time.
  virtual void Expire() = 0;

  // Exchange calls that wait now.
  virtual size_t open_exchanges() = 0;

  // Ends all calls with UNAVAILABLE and takes no new ones. The ranks stay in their epoch.
  virtual void Stop() = 0;
};

}  // namespace tessera::router

#endif  // TESSERA_ROUTER_GROUP_GROUP_SERVICE_H_
