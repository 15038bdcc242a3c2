// Where `ask` and `chat` find a server: a running one, or a private cluster that lives as long as
// the session.
#ifndef TESSERA_SERVICES_CLI_CLIENT_SESSION_H_
#define TESSERA_SERVICES_CLI_CLIENT_SESSION_H_

#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/cli/client/inference_client.h"
#include "services/cli/config_flags.h"
#include "services/cli/flags.h"
#include "services/cli/local_cluster.h"
#include "services/cli/progress_line.h"

namespace tessera::cli {

class Session {
 public:
  // Declares --server and the flags of the private cluster.
  explicit Session(Flags& flags);
  ~Session();  // stops the private cluster

  // Connects to --server, or brings the private cluster up. Errors: the cluster's, with the last
  // lines of its log where it left any.
  absl::Status Open();
  InferenceClient& client() { return *client_; }  // after Open

  // From any thread: ends the start of the cluster, or the call in progress, with CANCELLED.
  void Interrupt();

 private:
  absl::Status OpenPrivateCluster();

  std::string server_;
  absl::Duration start_timeout_ = absl::Minutes(10);
  ConfigFlags config_flags_;
  ProgressLine progress_;
  std::mutex mutex_;  // guards the pointers while Interrupt looks at them
  std::unique_ptr<LocalCluster> cluster_;
  std::unique_ptr<InferenceClient> client_;
};

}  // namespace tessera::cli

#endif  // TESSERA_SERVICES_CLI_CLIENT_SESSION_H_
