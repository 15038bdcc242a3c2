// The router's view of the cluster as the command line asks for it.
#ifndef TESSERA_SERVICES_CLI_TOP_ROUTER_CLIENT_H_
#define TESSERA_SERVICES_CLI_TOP_ROUTER_CLIENT_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tessera/v1/router.pb.h"

namespace tessera::cli {

// One call at a time.
class RouterClient {
 public:
  // address: host:port, without TLS. Opens nothing yet.
  static std::unique_ptr<RouterClient> Connect(const std::string& address);
  virtual ~RouterClient() = default;

  // UNAVAILABLE at once if nobody listens; a router that comes back is found within a second.
  virtual absl::StatusOr<v1::Cluster> GetCluster(absl::Time deadline) = 0;
};

}  // namespace tessera::cli

#endif  // TESSERA_SERVICES_CLI_TOP_ROUTER_CLIENT_H_
