// A whole cluster on this machine: router, workers and gateway as child processes of this binary.
#ifndef TESSERA_SERVICES_CLI_LOCAL_CLUSTER_H_
#define TESSERA_SERVICES_CLI_LOCAL_CLUSTER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/cli/local_ranks.h"
#include "services/cli/supervisor/supervisor.h"
#include "services/config/config.h"

namespace tessera::cli {

struct LocalClusterOptions {
  config::ClusterConfig config;  // model.path is not empty
  std::vector<std::string>
      arguments;  // what makes a child read the same configuration: ConfigFlags::AsArguments
  bool is_private =
      false;  // any free ports, errors in the log alone, and the log kept back (see ErrorOutput)
  absl::Duration start_timeout = absl::Minutes(10);
  supervisor::LoadingObserver on_loading;  // may be empty
};

// The children's own arguments; `known` holds the addresses that are known so far. Pure, for tests.
std::vector<std::string> RouterArguments(const LocalClusterOptions& options,
                                         const supervisor::Addresses& known);
// index: of the rank among all; it moves configured ports, so that each rank has its own.
std::vector<std::string> WorkerArguments(const LocalClusterOptions& options, const LocalRank& rank,
                                         int64_t index, int64_t threads,
                                         const supervisor::Addresses& known);
std::vector<std::string> GatewayArguments(const LocalClusterOptions& options,
                                          const supervisor::Addresses& known);

// Threads of each rank: as configured, or the processors that this process may use, divided among
// the ranks; at least 1.
int64_t WorkerThreads(const config::ClusterConfig& config, int64_t num_processors);

// Thread safe.
class LocalCluster {
 public:
  explicit LocalCluster(LocalClusterOptions options);
  ~LocalCluster();  // kills what still runs

  // Returns when the gateway's health says SERVING; else why not, with every process gone: the
  // failing child's own words, or CANCELLED after a stop. At most once.
  absl::Status Start();
  supervisor::Supervisor& supervisor() { return *supervisor_; }
  std::string gateway_address() const;  // host:port, after Start

  // What the children of a private cluster wrote to their log, the last 4 KiB.
  std::string ErrorOutput() const;

 private:
  LocalClusterOptions options_;
  supervisor::OwnedFd log_;  // a memory file; invalid unless is_private
  std::unique_ptr<supervisor::Supervisor> supervisor_;
};

}  // namespace tessera::cli

#endif  // TESSERA_SERVICES_CLI_LOCAL_CLUSTER_H_
